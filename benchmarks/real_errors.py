"""How many of the ten lowest AUMs of Fashion-MNIST, with nothing planted, are real label errors: drawn here, counted by eye.

    python benchmarks/real_errors.py --fashion DIR_WITH_IDX_FILES --dir DIR --out benchmarks/results/real_errors.png

All 60,000 training images, the default ConvNet, 8 epochs, AUM of one run. DIR gets train.parquet, the store and report.html, the page
whose gallery shows the same ten; the picture has each image large, with its given label and the likeliest other one by the final model.
"""

import argparse
from pathlib import Path

import datasets
import numpy as np
from planted_noise import NAMES, read_idx

import curate
from curate import png
from curate.signals.runs import find_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where the rows, the store and the page go")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_errors.png"))
    arguments = parser.parse_args()
    data = curate.load(written(arguments.fashion, arguments.dir / "train.parquet"))
    scores = curate.score(data, ["aum", "datamap", "el2n", "forgetting", "entropy"], out=arguments.dir / "scores")
    curate.report(scores.path, arguments.dir / "report.html", data=data)
    draw(data, scores, arguments.out)


def written(fashion: Path, file: Path) -> Path:
    """The rows as parquet with the names of the classes."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        images, labels = read_idx(fashion, "train")
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
        cells = [{"bytes": png.encode(image), "path": None} for image in images]
        datasets.Dataset.from_dict({"image": cells, "label": labels.tolist()}, features=features).to_parquet(file)
    return file


def draw(data: curate.Dataset, scores: curate.Scores, path: Path) -> None:
    from matplotlib.figure import Figure

    (run,) = find_runs(scores.path)
    probabilities = run.column("probs.final", 0, len(data))
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    for axes, row in zip(figure.subplots(2, 5).flat, np.argsort(scores["aum"])[:10].tolist(), strict=True):
        given = data.labels[row]
        seen = int(np.where(np.arange(len(NAMES)) == given, -1.0, probabilities[row]).argmax())
        axes.imshow(data.images(row, row + 1)[0], cmap="gray_r", interpolation="nearest")
        axes.set_title(f"row {row:,}, AUM {scores['aum'][row]:.1f}\n{NAMES[given]} → {NAMES[seen]}", fontsize=11)
        axes.set_axis_off()
        print(f"{row:6,}  {scores['aum'][row]:7.2f}  {NAMES[given]} → {NAMES[seen]}")
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
