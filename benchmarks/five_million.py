"""Millions of vectors from an embedding store through density, selection and index: time and memory.

    OMP_NUM_THREADS=1 python benchmarks/five_million.py --rows 1000000 --dir DIR --out benchmarks/results/five_million.txt

Generated vectors of 64 numbers about 1,000 centres of Zipf sizes, in a store of shards of 65,536. Memory is the process's peak, CPU time
that of one thread. The last line says what 100 million rows would take by the same code: arrays loaded and candidates copied
are what grows.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import curate
from curate.embeddings import Embeddings
from curate.index.indexes import Index, plan

D = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    n, here = arguments.rows, arguments.dir
    here.mkdir(parents=True, exist_ok=True)
    lines = [f"{n:,} vectors of {D} numbers, {4 * n * D / 1e9:.2f} GB; the process before: {peak():.2f} GB"]

    def step(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        found = work()
        lines.append(f"{name:44s} {time.process_time() - started:7.1f} CPU s  peak {peak():5.2f} GB")
        print(lines[-1], flush=True)
        if arguments.out:  # what is there so far, should the rest take too long
            arguments.out.write_text("\n".join(lines) + "\n")
        return found

    vectors = step("generated, a .npy file", lambda: drawn(here / "vectors.npy", n))
    data = step("loaded", lambda: curate.load(vectors))
    store = step("embedding store", lambda: curate.embed(data, out=here / "embeddings", overwrite=True))
    matrix = step("joined and mapped", lambda: Embeddings.open(store.path).matrix)
    made = step("density, 10 %, selected", lambda: curate.select(data, embeddings=store, sampler="density", budget=0.1))
    lines[-1] += f", kept {len(made.rows):,}"
    lines.append(indexed(step, matrix))
    lines += ["", extrapolated(n, peak())]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def indexed(step: Callable[..., Any], matrix: np.ndarray) -> str:
    """The index, filled and asked."""
    chosen = plan(len(matrix), D)
    index = step(f"index trained: {chosen.factory}", lambda: Index.trained(matrix, chosen))
    step("index filled", lambda: index.add(matrix))
    queries = np.ascontiguousarray(matrix[:: len(matrix) // 200][:200], np.float32)
    rows, _ = step("200 queries for 16 neighbours", lambda: index.search(queries, 16))
    exact = step("the same, every pair compared", lambda: nearest(matrix, queries, 16))
    return f"recall {np.mean([len(np.intersect1d(a, b)) / 16 for a, b in zip(rows, exact, strict=True)]):.3f}"


def extrapolated(n: int, most: float) -> str:
    """Peak and time grow with n; the sketch's 34 to 134 MB do not."""
    times = most * 1e9 / (4 * n * D)
    return f"the peak is {times:.1f} times 4·n·d bytes, the vectors; 100 million rows at that rate: {times * 4e8 * D / 1e9:,.0f} GB"


def drawn(path: Path, n: int) -> np.ndarray:
    """Written and read back mapped, so that no copy is held."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, D)).astype(np.float32)
    share = 1 / np.arange(1, 1001)
    whole = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, D))
    for start in range(0, n, 1 << 18):
        stop = min(n, start + (1 << 18))
        of = rng.choice(1000, stop - start, p=share / share.sum())
        whole[start:stop] = centres[of] + 0.5 * rng.standard_normal((stop - start, D), np.float32)
    whole.flush()
    return np.load(path, mmap_mode="r")


def nearest(matrix: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    best, rows = np.full((len(queries), k), np.inf, np.float32), np.zeros((len(queries), k), np.int64)
    for start in range(0, len(matrix), 1 << 16):
        part = matrix[start : start + (1 << 16)]
        far = (part * part).sum(axis=1) - 2 * queries @ part.T
        both, names = np.hstack([best, far]), np.hstack([rows, np.broadcast_to(np.arange(start, start + len(part)), far.shape)])
        order = np.argpartition(both, k, axis=1)[:, :k]
        best, rows = np.take_along_axis(both, order, axis=1), np.take_along_axis(names, order, axis=1)
    return rows


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
