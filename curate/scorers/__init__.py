"""The menu of scorers: name on the command line to "module:Class". Adding one is one file, one test file, one line here."""

from curate.menus import lazy

MENU: dict[str, str] = {
    "ask_llm": "curate.scorers.language.ask_llm:AskLLM",
    "aum": "curate.scorers.dynamics.aum:AUM",
    "confident": "curate.scorers.dynamics.confident:Confident",
    "contamination": "curate.scorers.target.contamination:Contamination",
    "data_iq": "curate.scorers.dynamics.data_iq:DataIQ",
    "datamap": "curate.scorers.dynamics.datamap:DataMap",
    "dsir": "curate.scorers.target.dsir:DSIR",
    "dual": "curate.scorers.dynamics.dual:DUAL",
    "dyn_unc": "curate.scorers.dynamics.dyn_unc:DynUnc",
    "el2n": "curate.scorers.dynamics.el2n:EL2N",
    "entropy": "curate.scorers.dynamics.entropy:Entropy",
    "exact_duplicates": "curate.scorers.duplicates.exact_duplicates:ExactDuplicates",
    "forgetting": "curate.scorers.dynamics.forgetting:Forgetting",
    "grand": "curate.scorers.gradients.grand:GraNd",
    "grand_last": "curate.scorers.gradients.grand_last:GraNdLast",
    "ifd": "curate.scorers.language.ifd:IFD",
    "knn_disagreement": "curate.scorers.neighbours.knn_disagreement:KNNDisagreement",
    "knn_shapley": "curate.scorers.neighbours.knn_shapley:KNNShapley",
    "least_confidence": "curate.scorers.dynamics.least_confidence:LeastConfidence",
    "lexical": "curate.scorers.language.lexical:Lexical",
    "line_filters": "curate.scorers.language.line_filters:LineFilters",
    "loss": "curate.scorers.dynamics.loss:Loss",
    "margin": "curate.scorers.dynamics.margin:Margin",
    "margin_sum": "curate.scorers.dynamics.margin_sum:MarginSum",
    "minhash": "curate.scorers.duplicates.minhash:MinHash",
    "perplexity": "curate.scorers.language.perplexity:Perplexity",
    "pvi": "curate.scorers.dynamics.pvi:PVI",
    "quality": "curate.scorers.target.quality:Quality",
    "prototypes": "curate.scorers.neighbours.prototypes:Prototypes",
    "random": "curate.scorers.random_:Random",
    "rds": "curate.scorers.target.rds:RDS",
    "semdedup": "curate.scorers.duplicates.semdedup:SemDeDup",
    "tdds": "curate.scorers.dynamics.tdds:TDDS",
    "tracin": "curate.scorers.gradients.tracin:TracIn",
    "typicality": "curate.scorers.neighbours.typicality:Typicality",
    "vog": "curate.scorers.gradients.vog:VoG",
}

__getattr__ = lazy(MENU)
