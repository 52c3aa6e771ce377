"""Label errors that people made: CIFAR-10 under the human labels of CIFAR-10N, and GoEmotions, nothing planted.

    python benchmarks/human_labels.py --cifar DIR_OF_CIFAR_10 --human DIR_OF_CIFAR_10N --dir DIR --out benchmarks/results
    python benchmarks/human_labels.py --goemotions DIR --dir DIR --out benchmarks/results

CIFAR-10N: the majority of three people's labels; an error is where it differs from the label of CIFAR-10 itself. The first command audits
the rows (a linear probe and the neighbours, on pixels), then trains the default ConvNet on the human labels, joins AUM, data map and
the neighbours as `curate report --issues` does, and counts the errors among the 100 likeliest; human_cifar.png shows ten of them.
GoEmotions has several labels a row and no truth: human_goemotions.txt lists the 100 likeliest, to be judged by eye, beside 100 at random.
"""

import argparse
import csv
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

import curate
from curate.embeddings import Embeddings
from curate.index.linear_probe import out_of_fold_sets
from curate.label_issues import set_issues
from curate.stages.auditing import audit

EYED = 100  # rows of either kind
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--human", type=Path)
    parser.add_argument("--goemotions", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=6, help="0: the audit alone, which trains nothing")
    parser.add_argument("--dir", type=Path, required=True, help="where the rows and the stores go")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    started = time.process_time()
    if arguments.cifar:
        lines = images(arguments)
        (arguments.out / "human_cifar.txt").write_text("\n".join([*lines, spent(started)]) + "\n")
    if arguments.goemotions:
        lines = texts(arguments.goemotions, arguments.dir / "goemotions")
        (arguments.out / "human_goemotions.txt").write_text("\n".join([*lines, spent(started)]) + "\n")


def spent(started: float) -> str:
    return f"\n{time.process_time() - started:.0f} s of CPU, one thread of a shared machine"


def images(arguments: argparse.Namespace) -> list[str]:
    file, clean = written(arguments.cifar, arguments.human, arguments.dir, arguments.rows)
    data = curate.load(file)
    wrong = data.labels != clean
    lines = [
        f"CIFAR-10, {len(data):,} images under the majority of three people's labels, of which {wrong.mean():.1%} are wrong",
        "",
        f"{'':<34}{'top 100':>9}{'top 500':>9}{'AUROC':>8}",
        f"{'random':<34}{wrong.mean():9.2f}{wrong.mean():9.2f}{0.5:8.3f}",
    ]
    made = audit(data, out=arguments.dir / "audit")
    assert made.issues is not None, "ten classes, thousands of rows"
    lines.append(measured("curate audit, pixels", made.issues.suspicion, wrong))
    issues = arguments.dir / "audit" / "label_issues.csv"
    if arguments.epochs:
        embeddings, issues = arguments.dir / "audit" / "embeddings", arguments.dir / "issues.csv"
        names = ["aum", "datamap", "knn_disagreement", "knn_shapley"]
        scores = curate.score(data, names, embeddings=embeddings, out=arguments.dir / "scores", epochs=arguments.epochs)
        lines += [measured(name, scores[name] * scores.hard_sign(name), wrong) for name in names]
        curate.report(scores.path, arguments.dir / "page.html", data=data, issues=issues)
        lines.append(measured("these four together (--issues)", by_place(issues, len(data)), wrong))
    listed = read(issues)
    right = [clean[int(line["row"])] == NAMES.index(line["suggested"]) for line in listed[:100] if wrong[int(line["row"])]]
    lines.append(f"\nOf the errors among the first 100 of {issues.name} the suggested label is right for {np.mean(right):.0%}.")
    lines += ["", f"the ten likeliest: {'people':<12}{'suggested':<12}CIFAR-10"]
    lines += [
        f"row {line['row']:>6}{'':>9}{line['given']:<12}{line['suggested']:<12}{NAMES[clean[int(line['row'])]]}" for line in listed[:10]
    ]
    draw(data, clean, listed[:10], arguments.out / "human_cifar.png")
    print("\n".join(lines))
    return lines


def read(issues: Path) -> list[dict[str, str]]:
    with open(issues, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def by_place(issues: Path, n: int) -> np.ndarray:
    """The first of the list highest, what is not listed 0."""
    rows = [int(line["row"]) for line in read(issues)]
    suspicion = np.zeros(n)
    suspicion[rows] = np.arange(len(rows), 0, -1)
    return suspicion


def measured(name: str, hardness: np.ndarray, wrong: np.ndarray) -> str:
    hardness = np.nan_to_num(hardness, nan=-np.inf)
    order = np.argsort(-hardness, kind="stable")
    finite = np.isfinite(hardness)
    return (
        f"{name:<34}{wrong[order[:100]].mean():9.2f}{wrong[order[:500]].mean():9.2f}{roc_auc_score(wrong[finite], hardness[finite]):8.3f}"
    )


def written(cifar: Path, human: Path, folder: Path, rows: int) -> tuple[Path, np.ndarray]:
    """The rows under their human labels as parquet, and the labels of CIFAR-10 itself."""
    pictures, labels = pq.read_table(cifar / "train-20k.parquet"), pq.read_table(human / "cifar10n-20k.parquet")
    assert pictures["index"].equals(labels["index"]), "the same rows in the same order"
    drawn = np.sort(np.random.default_rng(0).permutation(len(labels))[:rows])
    file = folder / "cifar.parquet"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
        cells = [{"bytes": cell, "path": None} for cell in pictures["image"].take(drawn).to_pylist()]
        given = labels["aggre_label"].take(drawn).to_pylist()
        datasets.Dataset.from_dict({"image": cells, "label": given}, features=features).to_parquet(file)
    return file, labels["clean_label"].to_numpy()[drawn].astype(np.int64)


def draw(data: curate.Dataset, clean: np.ndarray, listed: list[dict[str, str]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.4), layout="constrained")
    for axes, line in zip(figure.subplots(2, 5).flat, listed, strict=True):
        row = int(line["row"])
        axes.imshow(data.images(row, row + 1)[0], interpolation="lanczos")
        truth = "right" if NAMES[clean[row]] == line["given"] else NAMES[clean[row]]
        axes.set_title(f"people: {line['given']}\nsuggested: {line['suggested']}\nCIFAR-10: {truth}", fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=70)


def texts(folder: Path, store: Path) -> list[str]:
    names = np.array((folder / "labels.txt").read_text().split())
    data = curate.load(folder / "train.parquet", label="labels")
    made = audit(data, out=store)
    issues = made.set_issues
    assert issues is not None, "several labels a row"
    count = int(made.found["label_issue"].sum())
    lines = [f"GoEmotions, {len(data):,} comments, {len(names)} labels: {count:,} lack one that the probe is sure of"]
    probs = out_of_fold_sets(Embeddings.open(store / "embeddings").matrix, data.label_sets.member, data.label_sets.known)
    again = set_issues(data.label_sets, probs)
    assert (again.is_plain == issues.is_plain).all(), "the audit's own"
    codes = np.array([int(name) for name in issues.sets.names])
    for title, rows in (("likeliest", issues.rows[:EYED]), ("random", np.random.default_rng(0).choice(len(data), EYED, replace=False))):
        lines += ["", f"{title}: the labels, and what the list would add"]
        for row in rows.tolist():
            sure = ~issues.sets.member[row] & (probs[row] > 0.9) if title == "likeliest" else np.zeros(len(codes), bool)
            add = "" if title == "random" else " + " + ", ".join(names[codes[sure]])
            text = " ".join((data.texts(row, row + 1)[0] or "").split())[:110]
            lines.append(f"{row:6}  {', '.join(names[codes[issues.sets.member[row]]])}{add}: {text}")
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    main()
