"""The main job from end to end on real images: score, select, export, map; then whether the selection beat a random one.

    make demo                    or, in an environment of your own: python examples/demo.py

Writes ./demo; run again, it reuses the scores that are there. The policy (CCS within each class, the 5 % likeliest mislabelled
dropped) was picked among five by looking at this very comparison, so the figure flatters it. On 5,000 clean images it draws with
random, and plain `top` by AUM or EL2N loses by over twenty points at this budget: scores order rows, they do not choose alone.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import curate
from curate.progress import Silent
from curate.scores import Scores
from curate.selection import Selection
from curate.signals.inputs import Inputs, prepare
from curate.signals.models import ConvNet
from curate.signals.runs import Run

DATA = "sample:fashion"
OUT = Path("demo")
SEEDS = (0, 1, 2)
STEPS, BATCH, PEAK_RATE = 200, 128, 0.1
COMMANDS = (
    f"score {DATA} --scorer aum --scorer el2n --scorer datamap --scorer forgetting --scorer entropy --scorer random --out demo/scores",
    f"select {DATA} --scores demo/scores --sampler ccs:beta=0.05 --by aum --per-class proportional --budget 30% --out demo/subset",
    f"select {DATA} --sampler random --budget 30% --rows-only --out demo/random",
    "export demo/subset --format arrow --out demo/arrow",
    "map demo/scores -o demo/map.png",
)


def main() -> None:
    started = time.perf_counter()
    # A second thread gains such a small network little, and where other work shares the cores the two wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    shutil.rmtree(OUT / "arrow", ignore_errors=True)  # an export, unlike a store, is not gone on with
    for command in COMMANDS:
        run_command(command)
    data = curate.load(DATA)
    draw_suspects(data, OUT / "suspects.png")
    compare(data, {"everything": None, "random": OUT / "random", "selected": OUT / "subset"})
    print(
        "\ndemo/scores         one number a row and scorer, as Arrow: datasets, polars and pyarrow read them"
        "\ndemo/subset         the selected rows, hub-ready, with a card that says how they were chosen"
        "\ndemo/arrow          the same rows for datasets.load_from_disk"
        "\ndemo/map.png        the data map: what was easy, ambiguous and hard to learn"
        "\ndemo/suspects.png   the ten rows most likely to be mislabelled"
        f"\n\n{time.perf_counter() - started:,.0f} seconds in all"
    )


def run_command(command: str) -> None:
    print(f"$ curate {command}", flush=True)
    subprocess.run([sys.executable, "-c", "from curate.cli import main; main()", *shlex.split(command)], check=True)
    print(flush=True)


def compare(data: curate.Dataset, selections: dict[str, Path | None]) -> None:
    """Trains the small network on each selection for equally many steps, and prints how often it is right on the sample's test split."""
    print(f"Accuracy on the {len(data.test):,} images of the test split, {STEPS} steps of {BATCH} images, seeds {SEEDS}:\n", flush=True)
    accuracies: dict[str, list[float]] = {}
    cpu = torch.device("cpu")
    train, test = (prepare(part, cpu, Silent(), augment="crop") for part in (data, data.test))
    for name, folder in selections.items():
        rows = np.arange(len(data)) if folder is None else Selection.open(folder).rows
        found = accuracies[name] = [100 * accuracy(train, data.labels, rows.copy(), test, data.test.labels, seed) for seed in SEEDS]
        each = " ".join(f"{one:.1f}" for one in found)
        print(f"  {name:10}  {len(rows):5,} rows  {np.mean(found):.1f} %  ({each})", flush=True)
    gain = np.mean(accuracies["selected"]) - np.mean(accuracies["random"])
    share = np.mean(accuracies["random"]) / 100
    margin = 200 * np.sqrt(2 * share * (1 - share) / len(data.test))
    print(f"\nselected - random: {gain:+.1f} points; below {margin:.1f} (two standard errors of so few test images) may be chance.")


def accuracy(
    train: Inputs, labels: NDArray[np.int64], rows: NDArray[np.int64], test: Inputs, test_labels: NDArray[np.int64], seed: int
) -> float:
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    y = torch.from_numpy(labels.copy())
    model = ConvNet(train.shape, int(y.max()) + 1)
    optimizer = torch.optim.SGD(model.parameters(), PEAK_RATE, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=STEPS)
    for _ in range(STEPS):
        batch = torch.from_numpy(rows)[torch.randperm(len(rows), generator=draw)[:BATCH]]
        loss = nn.functional.cross_entropy(model(*train.batch(batch, draw)), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.inference_mode():
        likeliest = model(*test.batch(torch.arange(len(test_labels)))).argmax(dim=1)
    return float((likeliest.numpy() == test_labels).mean())


def draw_suspects(data: curate.Dataset, target: Path) -> None:
    """The ten images of lowest AUM, with the label that they bear and the one that the model would give."""
    from matplotlib.figure import Figure

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
