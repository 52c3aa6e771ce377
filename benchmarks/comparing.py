"""Seconds of a whole `curate compare`: 6 arms x 3 seeds on 10,000 small images, as many trainings beside each other as there are cores.

    python benchmarks/comparing.py --fashion DIR_WITH_IDX_FILES --dir DIR --out benchmarks/results/comparing.txt

Fashion-MNIST (the first 10,000 train and 2,000 test rows), the default ConvNet and its 8 epochs, all else by default: three picks of
30 %, everything, random and class-random. The picks are random rows: what they are makes no difference to the time. `--workers 1` trains
one after another, for comparison (one seed will do: `--seeds 1`). Goal: 15 minutes on 2 cores.
"""

import argparse
import time
from pathlib import Path

from planted_noise import read_idx

import curate
from curate.terminal import comparison_lines

ROWS, TEST_ROWS = 10_000, 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where the store goes; made anew")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    data = curate.load(tuple(part[:ROWS] for part in read_idx(arguments.fashion, "train")))
    test = tuple(part[:TEST_ROWS] for part in read_idx(arguments.fashion, "t10k"))
    picks = {f"pick-{seed}": curate.select(data, sampler="random", budget="30%", seed=seed) for seed in (5, 6, 7)}
    started = time.perf_counter()
    made = curate.compare(data, picks, test=test, seeds=arguments.seeds, out=arguments.dir, workers=arguments.workers, overwrite=True)
    minutes = (time.perf_counter() - started) / 60
    how = "the default" if arguments.workers is None else f"--workers {arguments.workers}"
    said = f"{len(made.table)} trainings of {ROWS:,} images, workers: {how}, took {minutes:.1f} minutes (goal 15 for 18).\n\n"
    arguments.out.write_text(said + comparison_lines(made.summary(), "comparison") + "\n")
    print(said)


if __name__ == "__main__":
    main()
