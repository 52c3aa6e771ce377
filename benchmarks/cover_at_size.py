"""Facility location and k-center on 200,000 vectors: memory, CPU seconds, and what the faster forms give up.

    OMP_NUM_THREADS=1 python benchmarks/cover_at_size.py --dir DIR --out benchmarks/results/cover_at_size.txt

Drawn vectors of 64 numbers about 500 centres of Zipf sizes, 10 % picked. Goals: facility location under 2 GB; picking by threshold at
99.9 % of the exact greedy's value; at 100,000 rows and 2.5 million near pairs 10,000 picks in a second. Memory is the process's peak.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curate.index.graph import graph_of
from curate.index.kept import keeping
from curate.index.vectors import unit
from curate.pool import ArrayPool
from curate.rng import KeyedRandom
from curate.samplers.cover.facility_location import by_threshold, greedy, similarity_graph
from curate.samplers.cover.k_center import KCenter, radius

RNG = KeyedRandom(0, "bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--dir", type=Path, required=True, help="where the graph of neighbours is kept, so that a second run begins there")
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    n = arguments.rows
    vectors = unit(drawn(n, 64))
    lines = [f"{n:,} vectors of 64 numbers; the process before: {peak():.2f} GB"]
    with keeping(arguments.dir):
        _, seconds = timed(lambda: graph_of(vectors, 32))
        lines.append(f"32 neighbours each: {seconds:.1f} CPU s (0 where kept), peak {peak():.2f} GB")
        print(*lines, sep="\n", flush=True)
        similarity, seconds = timed(lambda: similarity_graph(vectors, 32))
    lines.append(f"similarities, {similarity.nnz:,} pairs: {seconds:.1f} CPU s, peak {peak():.2f} GB")
    lines += picked(similarity, n // 10)
    lines.append(f"peak after picking: {peak():.2f} GB")
    half = similarity[: n // 2, : n // 2]
    half.data[:] = np.where(RNG.uniform(np.arange(half.nnz)) < 2_500_000 / half.nnz, half.data, 0)  # as near a graph of 25 pairs a row
    half = half.maximum(half.T)
    half.setdiag(1)
    half.eliminate_zeros()
    half.sort_indices()
    lines += ["", f"{n // 2:,} rows, {half.nnz:,} pairs", *picked(half.tocsr(), n // 20)]
    del similarity, half
    few = vectors[: n // 4]
    lines += ["", f"k-center on {len(few):,} of them, {len(few) // 50:,} picks"]
    for parts in (1, 4, 16):
        pool = ArrayPool({"embedding": few})
        (rows, _), seconds = timed(
            lambda parts=parts, pool=pool: KCenter(metric="euclidean", parts=parts).select(pool, len(few) // 50, RNG)
        )
        lines.append(f"in {parts:2} part{'s' if parts > 1 else ' '}: {seconds:6.1f} CPU s, radius {radius(few, rows):.4f}")
    at_random = np.argsort(RNG.uniform(np.arange(len(few))))[: len(few) // 50]
    lines.append(f"random rows:               radius {radius(few, at_random):.4f}")
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def drawn(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(500, d)).astype(np.float32)
    share = 1 / np.arange(1, 501)
    vectors = centres[rng.choice(500, n, p=share / share.sum())]
    vectors += 0.6 * rng.normal(size=(n, d)).astype(np.float32)
    return vectors


def picked(similarity: Any, k: int) -> list[str]:
    exact, slow = timed(lambda: greedy(similarity, k))
    many, fast = timed(lambda: by_threshold(similarity, k))
    at_random = np.argsort(RNG.uniform(np.arange(similarity.shape[0])))[:k]
    best = value(similarity, exact)
    return [
        f"{k:,} picks one at a time:  {slow:6.1f} CPU s, value {best:,.1f}",
        f"{k:,} picks by threshold:   {fast:6.1f} CPU s, value {value(similarity, many):,.1f} ({value(similarity, many) / best:.4%})",
        f"{k:,} random rows:                       value {value(similarity, at_random):,.1f} ({value(similarity, at_random) / best:.2%})",
    ]


def value(similarity: Any, rows: np.ndarray) -> float:
    return float(similarity[:, rows].max(axis=1).sum())


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return work(), time.process_time() - started


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
