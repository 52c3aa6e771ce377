"""The menu of distillers: name on the command line to "module:Class". Adding one is one file, one test file, one line here."""

from curate.menus import lazy

MENU: dict[str, str] = {
    "ast": "curate.distill.ast_:AST",
    "datm": "curate.distill.datm:DATM",
    "mtt": "curate.distill.mtt:MTT",
    "tesla": "curate.distill.tesla:TESLA",
}

__getattr__ = lazy(MENU)
