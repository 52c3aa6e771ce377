"""Accuracy by CPU time of the exact gradient against TESLA's truncated one, in the same loop on the same problem.

    python benchmarks/matching_engines.py --out benchmarks/results/matching_engines.txt

Digits, MTT on its preset for 1 and 10 images a class, and for 1 with starts from all of the experts' way, for each engine and two draws of
images. A point is the mean accuracy of 6 fresh networks on 597 test rows; a set is handed over as it stood
then, nothing is chosen. Experts are the same for all and are not counted. The picture is beside the table.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from distill_digits import SPLIT, accuracies, digits
from torch import Tensor

from curate.distill.experts import Experts, obtain
from curate.distill.images import Images
from curate.distill.matching import match, outcome_after
from curate.distill.mtt import MTT
from curate.distill.unroll import Synthetic
from curate.progress import Silent
from curate.rng import KeyedRandom

ENGINES = ("unrolled", "adjoint", "truncated")  # the first two are the exact gradient
DRAWS = 2
MOMENTS = (5, 10, 20, 40, 60, 90, 120)  # iterations
WIDE = (0, 28)  # every epoch that a segment of two may start from
CASES = ((1, "preset window", None), (1, "wide window", WIDE), (10, "preset window", None))

Curve = tuple[list[float], np.ndarray, np.ndarray]  # CPU seconds, accuracies (draws, moments), student rates likewise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    started = time.process_time()
    lines = [f"torch {torch.__version__}, one thread of a shared CPU; accuracy in %, mean of {DRAWS} draws x 6 networks", ""]
    curves: dict[str, dict[str, Curve]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data, test, labels = digits(Path(folder))
        for ipc, about, window in CASES:
            name = f"{ipc} a class, {about}"
            method = MTT(iterations=MOMENTS[-1], window=window).settle(data, ipc, None)
            curves[name] = {engine: curve(replace(method, engine=engine), data, test, labels, ipc) for engine in ENGINES}
            lines += [f"{name} {'+'.join(map(str, method.window))}", *table(curves[name]), ""]
            print("\n".join(lines), flush=True)
    lines.append(f"all of this: {time.process_time() - started:.0f} CPU s")
    out.write_text("\n".join(lines) + "\n")
    draw(curves, out.with_suffix(".png"))


def curve(method: MTT, data: Images, test: Tensor, labels: Tensor, ipc: int) -> Curve:
    network, plan = method._network(data), method.plan()
    experts = obtain(data, network, method._architecture(data), method.recipe(), method.experts, method.epochs, KeyedRandom(SPLIT))
    seconds, accuracy, rates = 0.0, [], []
    for number in range(DRAWS):
        folder = data.folder / f"{method.engine}-{ipc}-{'+'.join(map(str, method.window))}-{number}"
        folder.mkdir()
        images, classes, start = method.begin(data, ipc, network, experts, KeyedRandom(number, "begin"))
        seconds += matched(method, network, experts, Synthetic(images, start, torch.tensor(method.rate)), folder, number) / DRAWS
        found = [outcome_after(moment, plan, folder, data.device) for moment in MOMENTS]
        hot = torch.eye(10)[classes]
        accuracy.append([np.mean(accuracies(one.images, hot, method._training(one.rate), test, labels, seed=7_000)) for one in found])
        rates.append([one.rate for one in found])
    return [seconds * moment / MOMENTS[-1] for moment in MOMENTS], np.array(accuracy), np.array(rates)


def matched(method: MTT, network, experts: Experts, start: Synthetic, folder: Path, number: int) -> float:
    began = time.process_time()
    match(network, experts, method.plan(), start, folder, Silent(), KeyedRandom(number, "match"), MOMENTS)
    return time.process_time() - began


def table(curves: dict[str, Curve]) -> Iterator[str]:
    yield f"  {'iterations':<12}" + " ".join(f"{moment:>11}" for moment in MOMENTS)
    for engine, (seconds, accuracy, rates) in curves.items():
        error = accuracy.std(0, ddof=1) / DRAWS**0.5
        yield f"  {engine:<12}" + " ".join(f"{m:5.1f} +- {e:3.1f}" for m, e in zip(accuracy.mean(0), error, strict=True))
        yield f"  {'  CPU s':<12}" + " ".join(f"{s:>11.1f}" for s in seconds)
        yield f"  {'  rate':<12}" + " ".join(f"{r:>11.4f}" for r in rates.mean(0))


def draw(curves: dict[str, dict[str, Curve]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 2.8), layout="constrained")
    for axis, (name, engines) in zip(axes, curves.items(), strict=True):
        for engine, (seconds, accuracy, _) in engines.items():
            axis.errorbar(seconds, accuracy.mean(0), accuracy.std(0, ddof=1) / DRAWS**0.5, label=engine, marker=".", capsize=2)
        axis.set(title=name, xlabel="CPU seconds of matching")
    axes[0].set_ylabel("accuracy, %")
    axes[0].legend()
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
