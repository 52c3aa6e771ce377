"""k-center greedy beside DeepCore's own code, in one process and one thread: CPU seconds and radius from the same first row.

    OMP_NUM_THREADS=1 python benchmarks/k_center_deepcore.py --deepcore DIR --out benchmarks/results/k_center_deepcore.txt

DIR is a checkout of PatrickZH/DeepCore (MIT), of which two functions are read: `k_center_greedy` and its Euclidean distance. Its own
result comes in row order; both radii are computed by us. Data are drawn: Gaussians about 100 centres.

Result (26 November 2026, 2 shared CPU cores, busy, one thread): the same rows and radius; DeepCore takes 23 to 34 times as long. Of the
0.11 s at d = 512 0.06 are the product of all rows with all picks at this machine's 35 GFLOP/s; one product a pick, 20 MB read again for
each, takes 0.36 s, which was the whole of it before rows that cannot be next had to wait.
"""

import argparse
import ast
import contextlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curate.index.vectors import centred
from curate.samplers.cover.k_center import farthest_first, radius


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepcore", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    peer = official(arguments.deepcore / "deepcore" / "methods", torch)
    lines = []
    for n, d, k in ((10_000, 64, 200), (10_000, 512, 200), (20_000, 64, 1000)):
        rng = np.random.default_rng(0)
        x = (rng.normal(size=(100, d))[rng.integers(0, 100, n)] + rng.normal(size=(n, d))).astype(np.float32)
        ours, our_seconds = timed(lambda x=x, k=k: farthest_first(centred(x), k, 0))
        theirs, their_seconds = timed(lambda x=x, k=k: peer(x, k))
        lines += [
            f"n={n:,} d={d} k={k:,}",
            f"curate      {our_seconds:8.3f} s   radius {radius(x, ours):.5f}",
            f"DeepCore    {their_seconds:8.3f} s   radius {radius(x, theirs):.5f}   {their_seconds / our_seconds:.1f} times as long",
            f"rows in both: {len(np.intersect1d(ours, theirs)):,} of {k:,}",
            "",
        ]
        print("\n".join(lines[-5:]), flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines))


def official(methods: Path, torch: Any) -> Callable[[np.ndarray, int], np.ndarray]:
    """Their function alone: the module itself imports a training framework that selection from vectors does not need."""
    names: dict[str, Any] = {"torch": torch, "np": np}
    for file, function in (("methods_utils/euclidean.py", "euclidean_dist"), ("kcentergreedy.py", "k_center_greedy")):
        tree = ast.parse((methods / file).read_text())
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
        exec(compile(tree, file, "exec"), names)

    def run(x: np.ndarray, k: int) -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()):
            # Their budget does not count rows that are chosen already.
            return np.asarray(names["k_center_greedy"](x, k - 1, names["euclidean_dist"], "cpu", 0, already_selected=[0]))

    if not hasattr(np, "in1d"):  # gone in numpy 2.4, and what their code calls it
        np.in1d = np.isin  # type: ignore[attr-defined]
    return run


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """What came out, and the least CPU seconds of two."""
    best, found = np.inf, np.empty(0)
    for _ in range(2):
        start = time.process_time()
        found = work()
        best = min(best, time.process_time() - start)
    return found, best


if __name__ == "__main__":
    main()
