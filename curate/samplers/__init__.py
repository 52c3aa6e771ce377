"""The menu of samplers: name on the command line to "module:Class". Adding one is one file, one test file, one line here."""

from curate.menus import lazy
from curate.samplers import online

MENU: dict[str, str] = {
    "ambiguous": "curate.samplers.ranked.ambiguous:Ambiguous",
    "band": "curate.samplers.ranked.band:Band",
    "beta": "curate.samplers.ranked.beta:Beta",
    "ccs": "curate.samplers.ranked.ccs:CCS",
    "class_random": "curate.samplers.ranked.class_random:ClassRandom",
    "d2": "curate.samplers.cover.d2:D2",
    "density": "curate.samplers.density.density:Density",
    "dpp": "curate.samplers.cover.dpp:DPP",
    "facility_location": "curate.samplers.cover.facility_location:FacilityLocation",
    "gumbel": "curate.samplers.ranked.gumbel:Gumbel",
    "herding": "curate.samplers.cover.herding:Herding",
    "hierarchical_kmeans": "curate.samplers.cover.hierarchical_kmeans:HierarchicalKMeans",
    "k_center": "curate.samplers.cover.k_center:KCenter",
    "kmeans": "curate.samplers.cover.kmeans:KMeans",
    "kmq": "curate.samplers.cover.kmq:KMQ",
    "moderate": "curate.samplers.cover.moderate:Moderate",
    "offset": "curate.samplers.ranked.offset:Offset",
    "prototypes": "curate.samplers.cover.prototypes:Prototypes",
    "random": "curate.samplers.ranked.random_:Random",
    "rds": "curate.samplers.target.rds:RDS",
    "top": "curate.samplers.ranked.top:Top",
    "typicality": "curate.samplers.cover.typicality:Typicality",
}

__getattr__ = lazy({**MENU, **online.MENU})
