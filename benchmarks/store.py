"""Shard writing beside the disk's own rate, and `curate select --rows-only` from 10 M scores (or `--rows`): seconds and peak memory.

    python benchmarks/store.py --dir /tmp/bench-store --out benchmarks/results/store.txt [--rows 100000000]

The select runs as a user runs it, in a process of its own, and fingerprints the data, one int64 column, in that time.
The parquet file was opened once before, so that the memory-mapped cache of `datasets` is there.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import curate
from curate.scores import ROWS, describe_dataset
from curate.store import Store, as_arrow, shard_name, shard_ranges

SHARD = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.dir, ignore_errors=True)
    arguments.dir.mkdir(parents=True)
    lines = [write_rates(arguments.dir), *select_times(arguments.dir, arguments.rows)]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    if not arguments.keep:
        shutil.rmtree(arguments.dir)


def write_rates(folder: Path) -> str:
    """256 MB of float32 as one shard (checksum, flush, rename, manifest) and as one plain file with fsync."""
    values = np.random.default_rng(0).standard_normal(64 << 20, np.float32)
    table = pa.table({"score": values})
    dataset = {"fingerprint": "0" * 32, "rows": len(values), "schema": {}}
    ours, plain = [], []
    for turn in range(5):
        store = Store.create(folder / f"write{turn}", "scores", dataset=dataset, job={}, settled={})
        store.describe("x", {})
        started = time.perf_counter()
        store.add_shard("x", shard_name(0), table)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        with open(folder / "plain", "wb", buffering=0) as file:
            file.write(memoryview(values).cast("B"))
            os.fsync(file.fileno())
        plain.append(time.perf_counter() - started)
        shutil.rmtree(folder / f"write{turn}")
    size = values.nbytes / 1e9
    return f"shard writing {size / np.median(ours):.2f} GB/s, plain write + fsync {size / np.median(plain):.2f} GB/s (median of 5, 268 MB)"


def select_times(folder: Path, n: int) -> list[str]:
    pq.write_table(pa.table({"x": np.arange(n)}), folder / "data.parquet")
    data = curate.load(folder / "data.parquet", input="x")
    store = Store.create(
        folder / "scores", "scores", dataset=describe_dataset(data), job={"seeds": [0], "run": None}, settled={"shard_rows": SHARD}
    )
    rng = np.random.default_rng(0)
    about = {"method": "el2n", "options": {}, "version": 1, "hard_sign": 1, "keep": "high"}
    for name, description in ((ROWS, {"hash": ""}), ("el2n", about), ("aum", about | {"method": "aum", "hard_sign": -1})):
        store.describe(name, description)
        for index, (first, stop) in enumerate(shard_ranges(n, SHARD)):
            columns = {"row": pa.array(np.arange(first, stop))}
            if name == ROWS:
                columns["hash"] = pa.array(data.row_hashes[first:stop])
            else:
                columns["score"] = as_arrow(rng.standard_normal(stop - first, np.float32))
                columns["status"] = pa.nulls(stop - first, pa.string())
            store.add_shard(name, shard_name(index), pa.table(columns), first=first)
    choices = {
        "top, 30 %": ["--sampler", "top", "--by", "el2n", "--budget", "30%"],
        "ccs, 30 %": ["--sampler", "ccs", "--by", "el2n", "--budget", "30%"],
        "--where aum > 0": ["--where", "aum > 0"],
        "random, 30 %": ["--sampler", "random", "--budget", "30%"],
    }
    return [read_time(folder / "scores", n)] + [timed(folder, n, name, words) for name, words in choices.items()]


def read_time(scores: Path, n: int) -> str:
    """What no selection can be faster than by much: the bytes of one score table, read once (from the page cache)."""
    started, total = time.perf_counter(), 0
    for file in sorted((scores / "el2n").iterdir()):
        total += len(file.read_bytes())
    return f"reading el2n once, {total / 1e9:.2f} GB for {n:,} rows: {time.perf_counter() - started:.2f} s"


def timed(folder: Path, n: int, name: str, words: list[str]) -> str:
    command = [sys.executable, "-c", "from curate.cli import main; main()", "select", str(folder / "data.parquet"), "--input", "x"]
    command += ["--scores", str(folder / "scores"), "--rows-only", "--out", str(folder / "out"), "--overwrite", "--quiet", *words]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    assert status == 0, f"select failed: {status}"
    return f"select {name:<18} from {n:,} rows: {seconds:5.2f} s, peak {usage.ru_maxrss / 1e6:.2f} GB"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
