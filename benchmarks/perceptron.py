"""Keep hard rows where rows abound, easy or random ones where they are scarce: the perceptron simulator beside its theory.

    python benchmarks/perceptron.py --out benchmarks/results

100 parameters, a quarter of the rows kept, 20 trials of each setting, 20 seconds on one core. Writes perceptron.txt and perceptron.png.
Result: hard rows lose to random ones at 6 samples a parameter and fewer, win from 8 on; measured errors lie on the theory's curves.
"""

import argparse
from pathlib import Path

import numpy as np

from curate.perceptron import KEPT, predicted, simulate

SAMPLES = (1, 2, 4, 6, 8, 12, 16, 32, 64)
COLOURS = {"random": "0.45", "hard": "#b2182b", "easy": "#2166ac"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    found = {(one.samples, one.kept): one for one in simulate(SAMPLES, trials=20)}
    lines = [
        "error of a max-margin student, 25 % of the rows kept, 100 parameters, mean ± 95 % interval over 20 trials; in brackets the theory"
    ]
    lines += ["", f"{'samples a parameter':>20}" + "".join(f"{kept:>26}" for kept in KEPT) + f"{'hard minus random':>24}"]
    for samples in SAMPLES:
        cells = [
            f"{one.mean:.3f} ± {2.09 * one.deviation:.3f} ({predicted(samples, kept):.3f})"
            for kept in KEPT
            for one in [found[samples, kept]]
        ]
        paired = found[samples, "hard"].each - found[samples, "random"].each
        verdict = f"{paired.mean():+.3f} ± {2.09 * paired.std(ddof=1) / len(paired) ** 0.5:.3f}"
        lines.append(f"{samples:>20}" + "".join(f"{cell:>26}" for cell in cells) + f"{verdict:>24}")
    text = "\n".join(lines) + "\n"
    print(text)
    (arguments.out / "perceptron.txt").write_text(text, encoding="utf-8")
    draw(found, arguments.out / "perceptron.png")


def draw(found: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    curve = np.geomspace(SAMPLES[0], SAMPLES[-1], 40)
    for kept in KEPT:
        axes.plot(curve, [predicted(samples, kept) for samples in curve], color=COLOURS[kept], linewidth=1)
        means = [found[samples, kept].mean for samples in SAMPLES]
        spread = [2.09 * found[samples, kept].deviation for samples in SAMPLES]
        axes.errorbar(SAMPLES, means, spread, fmt="o", markersize=4, color=COLOURS[kept], label=f"{kept} quarter kept")
    axes.set(xscale="log", yscale="log", xlabel="samples a parameter, before pruning", ylabel="generalisation error")
    axes.set_xticks(SAMPLES, [str(samples) for samples in SAMPLES])
    axes.set_yticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.set_title("Points: simulated, 100 parameters. Lines: theory", fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
