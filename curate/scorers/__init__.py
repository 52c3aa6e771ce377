"""The menu of scorers: name on the command line to "module:Class". Adding one is one file, one test file, one line here."""

from curate.menus import lazy

MENU: dict[str, str] = {
    "aum": "curate.scorers.dynamics.aum:AUM",
    "confident": "curate.scorers.dynamics.confident:Confident",
    "data_iq": "curate.scorers.dynamics.data_iq:DataIQ",
    "datamap": "curate.scorers.dynamics.datamap:DataMap",
    "dual": "curate.scorers.dynamics.dual:DUAL",
    "dyn_unc": "curate.scorers.dynamics.dyn_unc:DynUnc",
    "el2n": "curate.scorers.dynamics.el2n:EL2N",
    "entropy": "curate.scorers.dynamics.entropy:Entropy",
    "forgetting": "curate.scorers.dynamics.forgetting:Forgetting",
    "least_confidence": "curate.scorers.dynamics.least_confidence:LeastConfidence",
    "loss": "curate.scorers.dynamics.loss:Loss",
    "margin": "curate.scorers.dynamics.margin:Margin",
    "margin_sum": "curate.scorers.dynamics.margin_sum:MarginSum",
    "pvi": "curate.scorers.dynamics.pvi:PVI",
    "tdds": "curate.scorers.dynamics.tdds:TDDS",
    "ask_llm": "curate.scorers.language.ask_llm:AskLLM",
    "ifd": "curate.scorers.language.ifd:IFD",
    "perplexity": "curate.scorers.language.perplexity:Perplexity",
    "dsir": "curate.scorers.target.dsir:DSIR",
    "random": "curate.scorers.random_:Random",
}

__getattr__ = lazy(MENU)
