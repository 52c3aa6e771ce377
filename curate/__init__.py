"""Tells which rows of a dataset are worth training on, and proves it: the facade, a table of contents of the Python API."""

import importlib

__version__ = "0.1.0"

_FACADE: dict[str, str] = {
    "Dataset": "curate.data:Dataset",
    "Recorder": "curate.signals.recorder:Recorder",
    "Scores": "curate.scores:Scores",
    "Comparison": "curate.comparison:Comparison",
    "Attribution": "curate.attribution:Attribution",
    "advise": "curate.stages.advising:advise",
    "audit": "curate.stages.auditing:audit",
    "bench": "curate.stages.benching:bench",
    "compare": "curate.stages.comparing:compare",
    "Embeddings": "curate.embeddings:Embeddings",
    "embed": "curate.stages.embedding:embed",
    "lds": "curate.stages.attributing:evaluate",
    "load": "curate.loading:load",
    "report": "curate.stages.reporting:report",
    "score": "curate.stages.scoring:score",
    "Synthetic": "curate.synthetic:Synthetic",
    "select": "curate.stages.selecting:select",
    "synthesize": "curate.stages.distilling:synthesize",
}

__all__ = ["__version__", *_FACADE]


def __getattr__(name: str) -> object:
    """Loads a public name when it is first asked for, so that `import curate` stays instant."""
    if name in _FACADE:
        module, _, attribute = _FACADE[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if name in ("distill", "integrations", "samplers", "scorers", "testing"):
        return importlib.import_module(f"curate.{name}")
    raise AttributeError(f"module 'curate' has no attribute {name!r}")
