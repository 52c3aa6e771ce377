"""The menu of distillers: name on the command line to "module:Class". Adding one is one file, one test file, one line here."""

from curate.menus import lazy

MENU: dict[str, str] = {
    "ast": "curate.distill.ast_:AST",
    "cv_dd": "curate.distill.cv_dd:CVDD",
    "datm": "curate.distill.datm:DATM",
    "dm": "curate.distill.dm:DM",
    "infer": "curate.distill.infer:INFER",
    "mtt": "curate.distill.mtt:MTT",
    "optidel": "curate.distill.optidel:OptiDEL",
    "sre2l": "curate.distill.sre2l:SRe2L",
    "tesla": "curate.distill.tesla:TESLA",
}

__getattr__ = lazy(MENU)
