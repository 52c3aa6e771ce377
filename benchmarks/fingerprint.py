"""Rows and bytes a second of the content fingerprint, beside a copy in memory and XXH3 over the same bytes.

    python benchmarks/fingerprint.py > benchmarks/results/fingerprint.txt

One thread, the best of five runs each; takes ten seconds. The claim: GB/s on wide columns, over 10 M rows/s on a column of
numbers, several M rows/s on short texts. Result on two cores of an AMD EPYC: 9.6 GB/s on embeddings and images (XXH3 alone: 31),
108 M rows/s of int64, 14 M rows/s of 35-byte texts.
"""

import os
import platform
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.fingerprint import hash_rows

N = 1_000_000


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}, pyarrow {pa.__version__}, xxhash {xxhash.VERSION}\n")
    print(f"{'table':34} {'MB':>6} {'M rows/s':>9} {'GB/s':>6} {'np.copy':>8} {'xxh3':>6}")
    numbers = pa.array(np.arange(N))
    report("int64", pa.table({"x": np.arange(10 * N)}))
    report("20 columns of float32", pa.table({f"x{i}": rng.random(N, np.float32) for i in range(20)}))
    report("embedding, 768 float32", pa.table({"x": pa.FixedSizeListArray.from_arrays(rng.random(N // 10 * 768, np.float32), 768)}))
    report("text, 7 bytes", pa.table({"x": pc.cast(numbers, pa.string())}))
    report("text, 35 bytes", pa.table({"x": text(numbers, 1)}))
    report("text, 350 bytes", pa.table({"x": text(numbers, 12)}))
    report("image, 3 kB", pa.table({"x": images(rng, N // 10, 3072)}))


def text(numbers: pa.Array, repeats: int) -> pa.Array:
    return pc.binary_join_element_wise("a short sentence of words, " * repeats, pc.cast(numbers, pa.string()), "")


def images(rng: np.random.Generator, n: int, size: int) -> pa.Array:
    data = pa.py_buffer(rng.integers(0, 256, n * size, dtype=np.uint8))
    content = pa.Array.from_buffers(pa.binary(), n, [None, pa.py_buffer(np.arange(n + 1, dtype=np.int32) * size), data])
    return pa.StructArray.from_arrays([content, pa.nulls(n, pa.string())], ["bytes", "path"])


def report(name: str, table: pa.Table) -> None:
    flat = np.random.default_rng(0).integers(0, 256, table.nbytes, dtype=np.uint8)
    target = np.empty_like(flat)
    ours = best(lambda: hash_rows(table))
    rates = [
        table.nbytes / seconds / 1e9 for seconds in (ours, best(lambda: np.copyto(target, flat)), best(lambda: xxhash.xxh3_64(flat.data)))
    ]
    print(f"{name:34} {table.nbytes / 1e6:6.0f} {table.num_rows / ours / 1e6:9.1f} {rates[0]:6.2f} {rates[1]:8.2f} {rates[2]:6.2f}")


def best(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
