"""The menu of scorers: name on the command line to "module:Class". Adding one is one file, one test file, one line here."""

from curate.menus import lazy

MENU: dict[str, str] = {
    "aum": "curate.scorers.dynamics.aum:AUM",
    "contamination": "curate.scorers.target.contamination:Contamination",
    "confident": "curate.scorers.dynamics.confident:Confident",
    "data_iq": "curate.scorers.dynamics.data_iq:DataIQ",
    "datamap": "curate.scorers.dynamics.datamap:DataMap",
    "dsir": "curate.scorers.target.dsir:DSIR",
    "dual": "curate.scorers.dynamics.dual:DUAL",
    "dyn_unc": "curate.scorers.dynamics.dyn_unc:DynUnc",
    "el2n": "curate.scorers.dynamics.el2n:EL2N",
    "entropy": "curate.scorers.dynamics.entropy:Entropy",
    "exact_duplicates": "curate.scorers.duplicates.exact_duplicates:ExactDuplicates",
    "forgetting": "curate.scorers.dynamics.forgetting:Forgetting",
    "knn_disagreement": "curate.scorers.neighbours.knn_disagreement:KNNDisagreement",
    "knn_shapley": "curate.scorers.neighbours.knn_shapley:KNNShapley",
    "least_confidence": "curate.scorers.dynamics.least_confidence:LeastConfidence",
    "loss": "curate.scorers.dynamics.loss:Loss",
    "margin": "curate.scorers.dynamics.margin:Margin",
    "margin_sum": "curate.scorers.dynamics.margin_sum:MarginSum",
    "minhash": "curate.scorers.duplicates.minhash:MinHash",
    "pvi": "curate.scorers.dynamics.pvi:PVI",
    "quality": "curate.scorers.target.quality:Quality",
    "random": "curate.scorers.random_:Random",
    "tdds": "curate.scorers.dynamics.tdds:TDDS",
    "typicality": "curate.scorers.neighbours.typicality:Typicality",
}

__getattr__ = lazy(MENU)
