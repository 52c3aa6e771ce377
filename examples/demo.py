"""The main job from end to end on real images: score, select, export, map; then whether the selection beat a random one.

    make demo                    or, in an environment of your own: python examples/demo.py

Writes ./demo; run again, it reuses the scores that are there. The policy (CCS within each class, the 5 % likeliest mislabelled
dropped) was picked among five by looking at this very comparison, so the figure flatters it. On 5,000 clean images it draws with
random, and plain `top` by AUM or EL2N loses by over twenty points at this budget: scores order rows, they do not choose alone.
"""

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import curate
from curate.cli import main as command_line

DATA = "sample:fashion"
OUT = Path("demo")
COMMANDS = (
    f"score {DATA} --scorer aum --scorer el2n --scorer datamap --scorer forgetting --scorer entropy --scorer random --out demo/scores",
    f"select {DATA} --scores demo/scores --sampler ccs:beta=0.05 --by aum --per-class proportional --budget 30% --out demo/subset",
    "export demo/subset --format arrow --out demo/arrow",
    "map demo/scores -o demo/map.png",
    f"compare {DATA} demo/subset --seeds 3 --steps 200 --batch-size 128 --lr 0.1 --scores demo/scores --workers 2 --out demo/comparison",
    f"report demo/scores --data {DATA} --selection demo/subset --comparison demo/comparison -o demo/report.html",
)


def main() -> None:
    started = time.perf_counter()
    # A second thread gains such a small network little, and where other work shares the cores the two wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    shutil.rmtree(OUT / "arrow", ignore_errors=True)  # an export, unlike a store, is not gone on with
    for command in COMMANDS:
        run_command(command)
    draw_suspects(curate.load(DATA), OUT / "suspects.png")
    print(
        "\ndemo/scores         one number a row and scorer, as Arrow: datasets, polars and pyarrow read them"
        "\ndemo/subset         the selected rows, hub-ready, with a card that says how they were chosen"
        "\ndemo/arrow          the same rows for datasets.load_from_disk"
        "\ndemo/map.png        the data map: what was easy, ambiguous and hard to learn"
        "\ndemo/comparison     every training of the comparison, as Arrow"
        "\ndemo/report.html    all of it on one page: open it, and decide on the labels that look wrong"
        "\ndemo/suspects.png   the ten rows most likely to be mislabelled"
        f"\n\n{time.perf_counter() - started:,.0f} seconds in all"
    )


def run_command(command: str) -> None:
    """The command line as in a terminal, but all in this process, so that torch is imported once."""
    print(f"$ curate {command}", flush=True)
    sys.argv = ["curate", *shlex.split(command)]
    try:
        command_line()
    except SystemExit as stop:
        if stop.code:
            raise
    print(flush=True)


def draw_suspects(data: curate.Dataset, target: Path) -> None:
    """The ten images of lowest AUM, with the label that they bear and the one that the model would give."""
    import numpy as np
    from matplotlib.figure import Figure

    from curate.scores import Scores
    from curate.signals.runs import Run

    scores = Scores.open(OUT / "scores")
    (run,) = (Run.open(path) for path in (OUT / "scores" / "runs").iterdir())
    likeliest = run.column("probs.final", 0, len(data)).argmax(axis=1)
    figure = Figure(figsize=(8.4, 4.1), layout="constrained")
    figure.suptitle("The ten lowest AUMs of 5,000: given label, and what the model sees", fontsize=11)
    for axes, row in zip(figure.subplots(2, 5).flat, np.argsort(scores["aum"])[:10].tolist(), strict=True):
        axes.imshow(data.images(row, row + 1)[0], cmap="gray_r", interpolation="nearest")
        axes.set_axis_off()
        given, seen = data.label_names[data.labels[row]], data.label_names[likeliest[row]]
        axes.set_title(f"row {row:,}", fontsize=8, color="0.5", pad=3)
        axes.text(0.5, -0.04, given, transform=axes.transAxes, ha="center", va="top", fontsize=10, color="firebrick")
        axes.text(0.5, -0.17, f"→ {seen}", transform=axes.transAxes, ha="center", va="top", fontsize=10, color="seagreen")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
