"""Facility location and k-center on 200,000 vectors: memory, CPU seconds, and what the faster forms give up.

    OMP_NUM_THREADS=1 python benchmarks/cover_at_size.py --dir DIR --out benchmarks/results/cover_at_size.txt

Drawn vectors of 64 numbers about 500 centres of Zipf sizes, 10 % picked. Goals: facility location under 2 GB; picking by threshold at
99.9 % of the exact greedy's value. Memory is the process's peak.
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
from curate.samplers.cover.facility_location import Service, by_threshold, greedy, similarity_graph
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
        (similarity, reach), seconds = timed(lambda: similarity_graph(vectors, 32))
    lines.append(f"similarities, {similarity.nnz:,} pairs: {seconds:.1f} CPU s, peak {peak():.2f} GB")
    some = vectors[np.sort(np.argsort(RNG.uniform(np.arange(n)))[:10_000])]
    for count in (n // 100, n // 10):
        lines += ["", *picked(similarity, count, vectors, reach, some)]
    lines.append(f"peak after picking: {peak():.2f} GB")
    del similarity
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


def picked(similarity: Any, k: int, vectors: np.ndarray, reach: np.ndarray, some: np.ndarray) -> list[str]:
    """The values are mean similarities of 10,000 drawn rows to the nearest pick, whether it is in a list or not."""
    lists, _ = timed(lambda: by_threshold(similarity, k))
    many, seconds = timed(lambda: by_threshold(similarity, k, Service(vectors, reach)))
    at_random = np.argsort(RNG.uniform(np.arange(len(vectors))))[:k]
    best = value(vectors, many, some)
    lines = [f"{k:,} picks by threshold:   {seconds:6.1f} CPU s, value {best:.5f}"]
    if k < 5000:
        exact, slow = timed(lambda: greedy(similarity, k, Service(vectors, reach)))
        there = value(vectors, exact, some)
        lines.append(f"{k:,} picks one at a time:  {slow:6.1f} CPU s, value {there:.5f} ({best / there:.4%} by threshold)")
    for name, rows in (("by lists alone", lists), ("random rows", at_random)):
        there = value(vectors, rows, some)
        lines.append(f"{k:,} {name + ':':35}value {there:.5f} ({there / best:.2%})")
    return lines


def value(vectors: np.ndarray, rows: np.ndarray, some: np.ndarray) -> float:
    best = np.zeros(len(some), np.float32)
    for start in range(0, len(rows), 1000):
        best = np.maximum(best, (some @ vectors[rows[start : start + 1000]].T).max(axis=1))
    return float(best.mean())


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return work(), time.process_time() - started


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
