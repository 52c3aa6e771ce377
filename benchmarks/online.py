"""Samplers that choose while training against subsets chosen beforehand, through `curate compare`, the cost of choosing charged.

    python benchmarks/online.py --fashion DIR_WITH_IDX_FILES --dir DIR --out benchmarks/results [--part fashion|longer|digits]

Fashion-MNIST: the first 10,000 train rows, 5,000 test rows, the small ConvNet below, 16 epochs of each arm's own rows (equal epochs, so
that what is saved is seen), 3 seeds; online_fashion.txt and online_fashion.png. Longer: the same rows for 30 epochs, which is kinder to
samplers that spend their first and last ones on everything; online_longer.txt. Digits: the bundled set, the default ConvNet; RS2 at 10 %
an epoch beside static subsets of 10 % at equal steps, SeTa and InfoBatch at equal epochs; online_digits.txt.

SeTa is shown with the paper's settings (10 groups, window .5), those of its scripts for CIFAR (share .1, 5 groups, window .9) and for
ImageNet (5 groups, .6), and with window .8, which was chosen from these and window .7 by other seeds on other rows: train rows 20,000 to
30,000 tested on 50,000 to 55,000, and digits with another held-out fifth. Seconds are CPU seconds of one thread on a shared machine. Run
again with the same --dir, it goes on.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planted_noise import read_idx
from torch import nn

import curate

ROWS, TEST_ROWS, EPOCHS, LONGER, SEEDS, RATE = 10_000, 5_000, 16, 30, 3, 0.05
TARGETS = (0.95, 0.99)  # of the accuracy that everything reaches
STATIC = {
    "el2n": {"sampler": "top", "by": "el2n"},
    "ccs-aum": {"sampler": "ccs", "by": "aum"},
    "k-center": {"sampler": "k_center"},
    "density": {"sampler": "density"},
}
BUDGETS = ("10%", "30%", "50%")
ONLINE = ("rs2:share=0.1", "rs2:share=0.3", "infobatch", "seta", "seta:share=0.1")
SETA = ("seta", "seta:share=0.1,groups=5,window=0.9", "seta:groups=5,window=0.6", "seta:window=0.8")


def build_model(shape: Sequence[int], classes: int) -> nn.Module:
    """A small ConvNet that strides where others pool: some 9,000 images of 28 x 28 a second on one core."""
    height, width = ((side + 3) // 4 for side in shape[1:])
    return nn.Sequential(
        nn.Conv2d(shape[0], 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * height * width, classes),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--dir", type=Path, required=True, help="where the stores go; run again, it goes on")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--part", choices=["fashion", "longer", "digits"], action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for part in arguments.part or ["fashion", "longer", "digits"]:
        {"fashion": fashion, "longer": longer, "digits": digits}[part](arguments)


def fashion(arguments: argparse.Namespace) -> None:
    data, test = read(arguments)
    folder, model = arguments.dir / "fashion", f"{__file__}:build_model"
    costs = Costs(folder)
    scores = costs.of("el2n", lambda: curate.score(data, ["el2n", "aum"], out=folder / "scores", model=model, lr=RATE))
    vectors = costs.of("k-center", lambda: curate.embed(data, out=folder / "vectors"))
    costs.same("ccs-aum", "el2n").same("density", "k-center")
    chosen: dict[str, Any] = {}
    for budget in BUDGETS:
        for name, how in STATIC.items():
            source = {"embeddings": vectors} if name in ("k-center", "density") else {}
            picked = costs.of(f"{name}-{budget}", partial(curate.select, data, scores, **how, **source, budget=budget))
            chosen[f"{name}-{budget}"] = picked
    chosen |= {spec: spec for spec in ONLINE}
    options = {"model": model, "epochs": arguments.epochs, "budget": "epochs", "lr": RATE}
    made = curate.compare(data, chosen, test=test, seeds=SEEDS, out=folder / "compared", **options)
    head = headline(data, arguments.epochs)
    lines = table(made, costs)
    say(arguments.out / "online_fashion.txt", head, lines)
    draw(lines, arguments.out / "online_fashion.png", head)


def longer(arguments: argparse.Namespace) -> None:
    data, test = read(arguments)
    chosen = {spec: spec for spec in ("infobatch", *SETA, "rs2:share=0.65")}
    options = {"model": f"{__file__}:build_model", "epochs": LONGER, "budget": "epochs", "lr": RATE}
    folder = arguments.dir / "longer"
    made = curate.compare(data, chosen, test=test, seeds=SEEDS, out=folder / "compared", **options)
    say(arguments.out / "online_longer.txt", headline(data, LONGER), table(made, Costs(folder)))


def digits(arguments: argparse.Namespace) -> None:
    data = curate.load("sample:digits")
    folder = arguments.dir / "digits"
    costs = Costs(folder)
    scores = costs.of("el2n", lambda: curate.score(data, ["el2n"], out=folder / "scores"))
    chosen = {"el2n-10%": curate.select(data, scores, sampler="top", by="el2n", budget="10%"), "rs2:share=0.1": "rs2:share=0.1"}
    made = curate.compare(data, chosen, seeds=SEEDS, out=folder / "steps")
    online = {spec: spec for spec in ("infobatch", "seta", "seta:groups=5,window=0.6", "seta:window=0.8", "rs2:share=0.5")}
    whole = curate.compare(data, online, seeds=SEEDS, epochs=LONGER, budget="epochs", out=folder / "epochs")
    head = "Bundled digits, the default ConvNet, a fifth held out, 3 seeds; equal steps, those of 8 epochs on everything"
    parts = [table(made, costs), f"The same, {LONGER} epochs of each arm's own rows", table(whole, costs)]
    say(arguments.out / "online_digits.txt", head, *parts)


def read(arguments: argparse.Namespace) -> tuple[curate.Dataset, Any]:
    data = curate.load(tuple(part[: arguments.rows] for part in read_idx(arguments.fashion, "train")))
    return data, tuple(part[:TEST_ROWS] for part in read_idx(arguments.fashion, "t10k"))


def headline(data: curate.Dataset, epochs: int) -> str:
    return (
        f"Fashion-MNIST, the first {len(data):,} train rows, {TEST_ROWS:,} test rows, a small ConvNet, "
        f"{epochs} epochs of each arm's own rows, {SEEDS} seeds"
    )


class Costs:
    """CPU seconds that choosing took, by what they were spent on; kept beside the stores, for a run that goes on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "costs.json"
        self._seconds: dict[str, float] = json.loads(self._path.read_text()) if self._path.is_file() else {}

    def of(self, name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        made = work()
        self._seconds.setdefault(name, time.process_time() - started)
        self._path.write_text(json.dumps(self._seconds))
        return made

    def same(self, name: str, other: str) -> "Costs":
        """A method alone would pay for the whole of what it shares with another."""
        self._seconds[name] = self._seconds[other]
        return self

    def charged(self, arm: str) -> float:
        return self._seconds.get(arm.rpartition("-")[0], 0.0) + self._seconds.get(arm, 0.0)


def table(made: curate.Comparison, costs: Costs) -> list[dict[str, Any]]:
    """An arm a line: how good, how far from everything, visits saved, CPU seconds with choosing charged, and until the targets."""
    history = [line for line in made.store.history() if line["what"] == "fit"]
    summary = made.summary()
    everything = next(arm for arm in summary["arms"] if arm["kind"] == "everything")
    stored = made.store.read("arms").to_pylist()
    lines = []
    for arm in summary["arms"]:
        name, own = arm["arm"], [one for one in stored if one["arm"] == arm["arm"]]
        seconds = float(np.median([line["cpu"] for line in history if line["arm"] == name]))
        away = arm.get("minus_everything") or {}
        line = {"arm": name, "kind": arm["kind"], "rows": arm["rows"], "steps": float(np.mean([one["steps"] for one in own]))}
        line |= {"accuracy": arm["accuracy"], "away": away, "charged": costs.charged(name), "seconds": seconds}
        line["saved"] = 1 - line["steps"] / everything["steps"]
        line["until"] = [reached(own, share * everything["accuracy"]["mean"], seconds, line["charged"]) for share in TARGETS]
        lines.append(line)
    return lines


def reached(own: Sequence[Mapping[str, Any]], target: float, seconds: float, charged: float) -> float | None:
    """CPU seconds until the mean accuracy over seeds, looked at ten times, is at the target; None if never."""
    curves = [one["curve"] for one in own]
    mean = np.mean([[point["accuracy"] for point in curve] for curve in curves], axis=0)
    there = np.flatnonzero(mean >= target)
    return None if not len(there) else charged + seconds * float(np.mean([curve[there[0]]["step"] / curve[-1]["step"] for curve in curves]))


def say(path: Path, head: str, *parts: Any) -> None:
    text = [
        f"{head}.",
        "CPU seconds of one thread, shared machine; choosing is charged to who needs it; ± and brackets: 95 % over the seeds.",
        "",
    ]
    for part in parts:
        text += [f"\n{part}.\n"] if isinstance(part, str) else spelled(part)
    print("\n".join(text), flush=True)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def spelled(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    titles = (
        "arm",
        "accuracy %",
        "minus everything",
        "visits saved",
        "training s",
        "choosing s",
        *(f"to {share:.0%} of it" for share in TARGETS),
    )
    rows = [titles]
    for line in lines:
        mean, away = line["accuracy"]["mean"], line["away"]
        accuracy = f"{100 * mean:.2f} ± {100 * (line['accuracy']['high'] - mean):.2f}"
        minus = f"{100 * away['mean']:+.2f} [{100 * away['low']:+.2f}, {100 * away['high']:+.2f}]" if away else ""
        until = ["never" if found is None else f"{found:.1f}" for found in line["until"]]
        rows.append((line["arm"], accuracy, minus, f"{line['saved']:.1%}", f"{line['seconds']:.1f}", f"{line['charged']:.1f}", *until))
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def draw(lines: Sequence[Mapping[str, Any]], path: Path, head: str) -> None:
    """Accuracy against the CPU seconds of choosing and training, a policy a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(policy(line) for line in lines):
        own = sorted((line for line in lines if policy(line) == name), key=lambda line: line["seconds"])
        x = [line["charged"] + line["seconds"] for line in own]
        y = [100 * line["accuracy"]["mean"] for line in own]
        error = [100 * (line["accuracy"]["high"] - line["accuracy"]["mean"]) for line in own]
        dynamic = own[0]["kind"] == "online"
        axes.errorbar(x, y, yerr=error, marker="s" if dynamic else "o", capsize=3, linewidth=2.2 if dynamic else 1.2, label=name)
    axes.set(xlabel="CPU seconds of choosing and training", ylabel="test accuracy, %")
    axes.set_title(head, loc="left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, dpi=110)


def policy(line: Mapping[str, Any]) -> str:
    return str(line["arm"]).partition(":")[0] if line["kind"] == "online" else str(line["arm"]).rpartition("-")[0] or str(line["arm"])


if __name__ == "__main__":
    main()
