"""`curate map`: the data map of a score store as a picture, confidence against variability, one point a row."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curate.disk import write_whole
from curate.errors import InputError, OptionError
from curate.rng import KeyedRandom
from curate.scores import Scores

MOST_POINTS: Final = 25_000
SUFFIXES: Final = (".png", ".svg", ".pdf")


def draw_map(path: str | Path, out: str | Path) -> dict[str, int]:
    """Draws the map of the first score that has `confidence` and `variability`; gives how many rows lie in each region and were drawn."""
    target = Path(out)
    if target.suffix not in SUFFIXES:
        raise OptionError(f'The picture "{target}" must end in {", ".join(SUFFIXES)}.')
    scores = Scores.open(path)
    name = next((n for n in scores.names if {"confidence", "variability"} <= set(scores.columns(n))), None)
    if name is None:
        raise InputError(
            f'Store "{path}" has no data map. Add one, from the run that is there: curate score DATA --scorer datamap --out {path}'
        )
    confidence, variability = scores[f"{name}.confidence"], scores[f"{name}.variability"]
    known = np.flatnonzero(~np.isnan(confidence))
    region = scores[f"{name}.region"][known].astype(str)
    keys = KeyedRandom(0, "map").uniform(known)
    drawn = known if len(known) <= MOST_POINTS else known[np.argpartition(keys, MOST_POINTS)[:MOST_POINTS]]
    correctness = scores[f"{name}.correctness"]
    _figure(target, variability[drawn], confidence[drawn], correctness[drawn], confidence[known], variability[known])
    counts = {place: int((region == place).sum()) for place in ("easy", "ambiguous", "hard")}
    return counts | {"rows": len(known), "drawn": len(drawn)}


def _figure(
    target: Path,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    correctness: NDArray[np.float32],
    all_confidence: NDArray[np.float32],
    all_variability: NDArray[np.float32],
) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "curate", "font.size": 9}):
        figure = Figure(figsize=(9, 6), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(3, 1))
        axes = figure.add_subplot(grid[:, 0])
        most = max(1.0, float(np.nanmax(correctness)))
        points = axes.scatter(x, y, c=correctness / most, s=5, cmap="coolwarm_r", vmin=0, vmax=1, linewidths=0, alpha=0.6, rasterized=True)
        axes.set(xlabel="variability (deviation of p of the given label)", ylabel="confidence (mean p of the given label)")
        axes.set(ylim=(-0.1, 1.1), yticks=np.linspace(0, 1, 6))  # room for the names above and below the points
        axes.set_xlim(0, max(0.05, float(np.nanmax(all_variability)) * 1.05))
        axes.set_title(
            f"Data map, {len(all_confidence):,} rows" + (f" ({len(x):,} drawn)" if len(x) < len(all_confidence) else ""), loc="left"
        )
        for text, place in (("easy to learn", (0.01, 0.965)), ("hard to learn or mislabelled", (0.01, 0.035)), ("ambiguous", (0.84, 0.5))):
            axes.text(*place, text, transform=axes.transAxes, va="center", fontsize=11, bbox={"fc": "white", "ec": "0.6", "alpha": 0.85})
        figure.colorbar(points, ax=axes, label="share of epochs in which the row was right", location="bottom", shrink=0.6, aspect=40)
        for line, values, label in ((0, all_confidence, "confidence"), (1, all_variability, "variability")):
            histogram = figure.add_subplot(grid[line, 1])
            histogram.hist(values, bins=40, color="0.45")
            histogram.set(xlabel=label, ylabel="rows")
            histogram.spines[["top", "right"]].set_visible(False)
        axes.spines[["top", "right"]].set_visible(False)
        metadata = {"Date": None} if target.suffix == ".svg" else None
        write_whole(target, lambda path: figure.savefig(path, format=target.suffix[1:], dpi=150, metadata=metadata))
