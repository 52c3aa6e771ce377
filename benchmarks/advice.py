"""What `curate advise` says of real data: digits, a small network, and whether the learning curve foretells what was measured.

    python benchmarks/advice.py --dir DIR --out benchmarks/results

The bundled digits as vectors of 64 pixels: 1,000 rows to train on, the other 442 to test (a seeded permutation), the default network
for vectors, CCS on AUM at seven sizes with random rows of each, 3 seeds, once 60 and once 300 steps of 32 rows. advice_digits.txt holds
what the command prints at both computes, advice_digits.png its picture. Run again with the same --dir, it goes on.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import curate
from curate.terminal import advice_lines

BUDGETS = (5, 8, 12, 20, 30, 50, 70)
STEPS = (60, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    data, test = split()
    scores = curate.score(data, ["aum"], out=arguments.dir / "scores")
    chosen = {f"ccs-{share}": curate.select(data, scores, sampler="ccs", by="aum", budget=f"{share}%") for share in BUDGETS}
    made = [curate.compare(data, chosen, test=test, seeds=3, steps=steps, out=arguments.dir / f"{steps}-steps") for steps in STEPS]
    spent = time.process_time() - started
    text = [
        f"Digits as vectors, {len(data):,} rows to train on, {len(test[0]):,} to test; {spent:.0f} CPU seconds in this run, shared machine."
    ]
    for steps in STEPS:
        found = curate.advise(made, steps=steps, out=arguments.out / "advice_digits.png")
        text += ["", advice_lines(found, None)]
    check = found["check"]
    off = check["foretold"]["value"] / check["measured"] - 1
    covered = check["foretold"]["low"] <= check["measured"] <= check["foretold"]["high"]
    text += ["", f"The foretold error is {off:+.0%} off the measured one, and the interval {'covers' if covered else 'misses'} it."]
    print("\n".join(text))
    (arguments.out / "advice_digits.txt").write_text("\n".join(text) + "\n", encoding="utf-8")


def split() -> tuple[curate.Dataset, tuple[np.ndarray, np.ndarray]]:
    digits = curate.load("sample:digits")
    x = np.stack([np.asarray(image, np.float32).reshape(-1) for image in digits.images(0, len(digits))]) / 16
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1000], order[1000:]
    return curate.load((x[train], digits.labels[train])), (x[test], digits.labels[test])


if __name__ == "__main__":
    main()
