"""What samplers of vectors hold at their peak beside what `--dry-run` says that they will, each in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/sampler_memory.py --dir DIR --out benchmarks/results/sampler_memory.txt

Drawn vectors in a memory-mapped file; a tenth is picked. Counted is the process's own memory (anonymous: not the mapped file, which the
system takes back when it needs to) less what it held with everything imported. A claim should be the peak or a little more.

Result (benchmarks/results/sampler_memory.txt, 12,000 vectors of 256 numbers; some 40 CPU seconds): no claim is below its peak.
"""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from curate import plugins
from curate.pool import ArrayPool
from curate.rng import KeyedRandom

SPECS = (
    "d2",
    "moderate",
    "moderate:centre=mean",
    "k_center",
    "k_center:trim=0.1",
    "facility_location",
    "facility_location:greedy=exact",
    "facility_location:neighbours=1",
    "herding",
    "dpp:window=20",
    "kmeans",
    "hierarchical_kmeans",
    "typicality",
    "prototypes",
    "prototypes:kind=supervised",
    "kmq",
    "density",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--d", type=int, default=256)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--where", action="store_true", help="every second row is a candidate, as --where leaves them")
    parser.add_argument("--sampler", nargs="+", default=SPECS)
    parser.add_argument("--one", default=None, help="one sampler, in this process")
    given = parser.parse_args()
    if given.one:
        print(measured(given.one, given.dir / "vectors.npy", given.where))
        return
    np.save(given.dir / "vectors.npy", drawn(given.rows, given.d))
    lines = [f"{given.rows:,} vectors of {given.d} numbers, {4 * given.rows * given.d / 1e6:.0f} MB{', every second one' * given.where}"]
    for spec in given.sampler:
        command = [sys.executable, __file__, "--dir", str(given.dir), "--one", spec, *(["--where"] if given.where else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines.append(done.stdout.strip().splitlines()[-1])
        print(lines[-1], flush=True)
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")


def measured(spec: str, file: Path, half: bool) -> str:
    sampler = plugins.parse("samplers", spec).build()
    select(sampler, np.load(file, mmap_mode="r")[:300], 10)  # imports
    vectors = np.load(file, mmap_mode="r")
    n = len(vectors) // 2 if half else len(vectors)
    peak, stop, before = [0.0], threading.Event(), own()

    def watch() -> None:
        while not stop.is_set():
            peak[0] = max(peak[0], own())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    select(sampler, vectors, n // 10, half)
    stop.set()
    watcher.join()
    claim = sampler.memory(n, vectors.shape[1], n // 10) / 1e6
    held = peak[0] - before
    return f"{spec:34s}{held:8.0f} MB at the peak, claimed {claim:8.0f} MB, {claim / max(held, 1):5.2f} of it"


def select(sampler: object, vectors: np.ndarray, k: int, half: bool = False) -> None:
    n = len(vectors)
    pool = ArrayPool({"embedding": vectors, "score": np.linspace(0, 1, n), "label": np.zeros(n, np.int64)})
    sampler.select(pool.subset(np.arange(0, n, 2)) if half else pool, k, KeyedRandom(0, "bench"))  # type: ignore[attr-defined]


def own() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3


def drawn(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(200, d))[rng.integers(0, 200, n)] + rng.normal(size=(n, d))).astype(np.float32)


if __name__ == "__main__":
    main()
