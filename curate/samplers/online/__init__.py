"""The menu of samplers for training loops: name to "module:Class". They are torch samplers; `curate select` has no use for them."""

from curate.menus import lazy

MENU: dict[str, str] = {
    "curriculum": "curate.samplers.online.curriculum:Curriculum",
    "infobatch": "curate.samplers.online.infobatch:InfoBatch",
    "rs2": "curate.samplers.online.rs2:RS2",
    "seta": "curate.samplers.online.seta:SeTa",
    "weighted": "curate.samplers.online.weighted:Weighted",
}

__getattr__ = lazy(MENU)
