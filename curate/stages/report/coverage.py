"""How well the kept rows stand for all by where they lie, beside as many drawn at random."""

from typing import Final

from curate.stages.report.context import Context, Section

# name → what it says, and which way is better: 1 more, -1 less, 0 neither
MEASURES: Final = {
    "coverage": ("share of rows with a kept one as near as their fifth neighbour", 1),
    "density": ("how many rows a kept one is so near to, over five", 0),
    "radius": ("distance of the row that is farthest from any kept one", -1),
    "distance": ("mean distance to the nearest kept row", -1),
    "clusters": ("evenness over clusters, from 0 to 1", 0),
    "near_equal": ("share of kept rows nearly equal to another kept one", -1),
    "spread": ("distance between two kept rows", 0),
    "effective_share": ("share of the sample size that the weights leave", 0),
}


def section(context: Context) -> Section | None:
    coverage = context.selection.report.get("coverage") if context.selection is not None else None
    if not coverage:
        return None
    rows = [
        {
            "name": name.replace("_", " "),
            "about": about,
            "kept": f"{coverage['kept'][name]:.3g}",
            "random": f"{coverage['random'][name]:.3g}",
            "verdict": _verdict(coverage["kept"][name] - coverage["random"][name], better),
        }
        for name, (about, better) in MEASURES.items()
    ]
    return Section("How they cover", "coverage.html", {"rows": rows, "probe": coverage["probe"], "clusters": coverage["clusters"]})


def _verdict(gain: float, better: int) -> str:
    if not better or not gain:
        return ""
    return "better than random" if gain * better > 0 else "worse than random"
