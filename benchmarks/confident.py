"""Confident learning on digits whose labels went through a known noise matrix: how near the joint is, and how good the issue list.

    python benchmarks/confident.py --dir DIR --out benchmarks/results/confident.txt

The 1,442 digits of the sample; of each class 90 % keep their label, 6 % get the next one and 4 % the one after two more. Three ways to
out-of-fold probabilities: a logistic regression (scikit-learn), `curate score --scorer confident` (the default ConvNet, 8 epochs, five
folds), and `curate audit`, whose label_issues.csv joins a linear probe and the neighbours. cleanlab's masks are ours, see the test.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import curate
from curate.label_errors import confident_joint, find_label_errors
from curate.signals.runs import find_runs
from curate.stages.auditing import audit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="where the stores go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/confident.txt"))
    arguments = parser.parse_args()
    started = time.process_time()
    digits = curate.load("sample:digits")
    images = np.stack([np.asarray(image) for image in digits.images(0, len(digits))])
    lines = [f"{'':<34}{'joint error':>12}{'issues':>8}{'precision':>11}{'recall':>8}"]
    for seed in range(arguments.seeds):
        true, given = digits.labels, noisy(digits.labels, seed)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)  # the rows come writer by writer
        model = LogisticRegression(max_iter=300, C=0.1)
        p = cross_val_predict(model, images.reshape(len(images), -1) / 255, given, cv=folds, method="predict_proba")
        lines.append(line(f"seed {seed} logistic regression", p, given, true))
        data = curate.load((images, given))
        scores = curate.score(data, ["confident"], out=arguments.dir / f"scores-{seed}", seed=seed)
        (run,) = find_runs(scores.path)
        lines.append(line(f"seed {seed} curate score", run.column("probs.oos", 0, len(data)), given, true))
        lines += of_audit(data, arguments.dir / f"audit-{seed}", given, true, seed)
    lines.append(f"\n{time.process_time() - started:.0f} s of CPU, one thread of a shared machine")
    arguments.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def noisy(labels: np.ndarray, seed: int) -> np.ndarray:
    """Each label by its line of the noise matrix."""
    step = np.random.default_rng(seed).choice([0, 1, 3], size=len(labels), p=[0.9, 0.06, 0.04])
    return (labels + step) % 10


def line(name: str, p: np.ndarray, given: np.ndarray, true: np.ndarray) -> str:
    known = np.zeros((10, 10))
    np.add.at(known, (given, true), 1 / len(given))
    error = np.abs(confident_joint(p, given) / len(given) - known).mean()
    return found(name, find_label_errors(p, given), given != true, f"{error:.5f}")


def of_audit(data: curate.Dataset, folder: Path, given: np.ndarray, true: np.ndarray, seed: int) -> list[str]:
    audit(data, out=folder, seed=seed)
    with open(folder / "label_issues.csv", encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    lines = []
    for name, least in (("half of the judges", 2), ("three of the four", 3), ("all four", 4)):
        mask = np.zeros(len(data), bool)
        mask[[int(one["row"]) for one in listed if int(one["votes"]) >= least]] = True
        lines.append(found(f"seed {seed} curate audit, {name}", mask, given != true, ""))
    right = np.mean([true[int(one["row"])] == int(one["suggested"]) for one in listed if given[int(one["row"])] != true[int(one["row"])]])
    return [*lines, f"{'':<34}suggested label right for {right:.0%} of the wrong ones"]


def found(name: str, mask: np.ndarray, wrong: np.ndarray, error: str) -> str:
    hits = (mask & wrong).sum()
    return f"{name:<34}{error:>12}{mask.sum():>8}{hits / mask.sum():11.3f}{hits / wrong.sum():8.3f}"


if __name__ == "__main__":
    main()
