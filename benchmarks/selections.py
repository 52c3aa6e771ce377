"""Every sampler from scores against random of the same size, through `curate compare`, on sample:fashion (5,000 images).

    python benchmarks/selections.py --dir DIR --budget 30% --seeds 3 --out benchmarks/results/selections.txt

Equal steps for every arm, the sample's own 1,000 test images, 95 % intervals over the seeds; the seconds of scoring stand beside.
"""

import argparse
import subprocess
import sys
from pathlib import Path

DATA = "sample:fashion"
SCORERS = ("aum", "el2n", "forgetting", "datamap", "dual", "tdds", "dyn_unc", "margin_sum")
POLICIES = {
    "top-el2n": ["--sampler", "top", "--by", "el2n"],
    "top-forgetting": ["--sampler", "top", "--by", "forgetting"],
    "top-dyn_unc": ["--sampler", "top", "--by", "dyn_unc"],
    "top-tdds": ["--sampler", "top", "--by", "tdds"],
    "easy-aum": ["--sampler", "top", "--by", "aum"],
    "middle-el2n": ["--sampler", "top", "--by", "el2n", "--keep", "middle"],
    "offset-el2n": ["--sampler", "offset", "--by", "el2n"],
    "ambiguous": ["--sampler", "ambiguous"],
    "ccs-aum": ["--sampler", "ccs", "--by", "aum"],
    "beta-dual": ["--sampler", "beta"],
    "gumbel-el2n": ["--sampler", "gumbel", "--by", "el2n"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--budget", default="30%")
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    scores = arguments.dir / "scores"
    curate("score", DATA, *(word for name in SCORERS for word in ("--scorer", name)), "--out", str(scores))
    for name, words in POLICIES.items():
        folder = str(arguments.dir / name)
        curate("select", DATA, "--scores", str(scores), *words, "--budget", arguments.budget, "--rows-only", "--out", folder, "--overwrite")
    folders = [str(arguments.dir / name) for name in POLICIES]
    table = curate("compare", DATA, *folders, "--seeds", arguments.seeds, "--scores", str(scores), "--out", str(arguments.dir / "compared"))
    text = f"curate compare {DATA}, budget {arguments.budget}, default ConvNet\n\n" + table.replace(str(arguments.dir) + "/", "")
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def curate(*words: str) -> str:
    command = [sys.executable, "-c", "from curate.cli import main; main()", *words, "--quiet"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
