"""Six pruning metrics at four fractions, the hard end kept, against random rows: the table of Sorscher et al., small.

    python benchmarks/pruning_metrics.py --dir DIR --out benchmarks/results

scikit-learn's digits, 1,437 rows to train on and 360 to test, the default MLP, equal steps (225, as many as everything makes in 5 epochs),
3 seeds, through `curate compare`. Scores are means over three runs of 20 epochs; prototypes are of the pixels. Writes pruning_metrics.txt
and pruning_metrics.png. About three CPU minutes. Run again, it goes on.

Result on one core of a shared machine, 2026-11-26: of clean digits the hard 40 % by el2n, aum or grand learn 2.2 to 2.5 points better than
a random 40 %; at 20, 60 and 80 % nothing beats random beyond its interval. The hard end of the logit's VoG lies below random at every
fraction, beyond the interval at 40 % and above.
"""

import argparse
import shutil
import time
from pathlib import Path

from vog import digits

import curate
from curate.terminal import comparison_lines

SCORERS = ["el2n", "forgetting", "aum", "grand", "vog", "prototypes"]
FRACTIONS = ("20%", "40%", "60%", "80%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="where the stores go")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    started = time.process_time()
    train, test = digits()
    data = curate.load(train)
    vectors = curate.embed(data, out=arguments.dir / "pixels")
    scores = curate.score(data, SCORERS, model="mlp", epochs=20, seeds=3, embeddings=vectors, out=arguments.dir / "scores")
    chosen = {
        f"{name} {fraction}": curate.select(
            data, scores, sampler="top", by=name, keep="high" if scores.hard_sign(name) > 0 else "low", budget=fraction
        )
        for fraction in FRACTIONS
        for name in scores.names
    }
    made = curate.compare(data, chosen, test=test, model="mlp", epochs=5, seeds=3, scores=scores, out=arguments.dir / "compared")
    head = f"digits, {len(data):,} rows, MLP; the hard end of each metric kept; one thread of a shared machine"
    text = f"{head}, {time.process_time() - started:.0f} CPU seconds in this run\n\n{comparison_lines(made.summary(), 'compared')}\n"
    print(text)
    (arguments.out / "pruning_metrics.txt").write_text(text, encoding="utf-8")
    shutil.copy(made.path / "curve.png", arguments.out / "pruning_metrics.png")


if __name__ == "__main__":
    main()
