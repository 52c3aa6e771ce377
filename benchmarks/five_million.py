"""Millions of vectors from an Arrow file through `embed`, an index and `select`: time and memory a stage, and whether memory grows with N.

    OMP_NUM_THREADS=1 python benchmarks/five_million.py --rows 1000000 5000000 --dir DIR --out benchmarks/results/five_million.txt

Generated vectors of 64 numbers about 1,000 centres of Zipf sizes. Every stage is a process of its own, the command line itself where
there is a command. "own" is the peak of memory that the process holds (anonymous), "mapped" that of pages of files, which the system
takes back when it needs them; both are looked at every 20 ms. CPU time is of one thread. The index is made in files of 1,000,000
rows each and searched where it lies; recall is of 16 neighbours of 200 rows beside a comparison of every pair.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

D = 64
PART = 1_000_000
BUDGET = "10%"
COMMAND = "import sys; from curate.cli import main; sys.argv[0] = 'curate'; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000])
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--only", nargs="+", default=[], help="the stages whose names begin so; the others were run before")
    parser.add_argument("--stage", choices=STAGES, default=None, help="one stage, in this process")
    arguments = parser.parse_args()
    if arguments.stage:
        print(STAGES[arguments.stage](arguments.dir, arguments.rows[0]))
        return
    lines: list[str] = []
    own: dict[int, float] = {}
    for n in arguments.rows:
        lines += [
            f"{n:,} vectors of {D} numbers, {4 * n * D / 1e9:.2f} GB",
            f"{'':34s}{'wall s':>8}{'CPU s':>8}{'own GB':>8}{'mapped GB':>10}",
        ]
        for name, command in stages(arguments.dir / str(n), n):
            if arguments.only and not name.startswith(tuple(arguments.only)):
                continue
            line, most, said = watched(name, command)
            own[n] = max(own.get(n, 0.0), most)
            lines.append(line + said)
            print(lines[-1], flush=True)
            if arguments.out:  # what is there so far, should the rest take too long
                arguments.out.write_text("\n".join(lines) + "\n")
        lines.append("")
    lines += extrapolated(own)
    print(lines[-1])
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


def stages(here: Path, n: int) -> list[tuple[str, list[str]]]:
    here.mkdir(parents=True, exist_ok=True)
    data, store = str(here / "vectors.arrow"), str(here / "embeddings")
    alone = [sys.executable, __file__, "--rows", str(n), "--dir", str(here), "--stage"]
    run = [sys.executable, "-c", COMMAND]
    chosen = ["--embeddings", store, "--budget", BUDGET, "--rows-only", "--overwrite", "--quiet"]
    return [
        ("imports alone", [*alone, "nothing"]),
        ("generated, an Arrow file", [*alone, "generate"]),
        ("curate embed", [*run, "embed", data, "--out", store, "--overwrite", "--quiet"]),
        ("select --sampler density", [*run, "select", data, "--sampler", "density", *chosen, "--out", str(here / "density")]),
        (
            "select --sampler kmeans:clusters=500",
            [*run, "select", data, "--sampler", "kmeans:clusters=500", *chosen, "--out", str(here / "km")],
        ),
        ("index in parts", [*alone, "index"]),
        ("200 queries, mapped", [*alone, "ask"]),
    ]


def watched(name: str, command: list[str]) -> tuple[str, float, str]:
    """A stage run in a process: its line, the peak of its own memory in GB, and the last line that it printed."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    anonymous, mapped = 0.0, 0.0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        held, pages = memory(process.pid)
        anonymous, mapped = max(anonymous, held), max(mapped, pages)
        time.sleep(0.02)
    _, status, usage = os.wait4(process.pid, 0)
    assert process.stdout is not None
    said = process.stdout.read().strip().splitlines()
    if status:
        raise SystemExit(f"{name} ended with status {status}: {' '.join(command)}")
    wall = time.perf_counter() - started
    line = f"{name:36s}{wall:6.0f}{usage.ru_utime + usage.ru_stime:8.1f}{anonymous:8.2f}{mapped:10.2f}  "
    return line, anonymous, said[-1] if said else ""


def memory(pid: int) -> tuple[float, float]:
    """Anonymous and file-backed resident memory of a process, GB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0, 0.0
    of = {line.partition(":")[0]: line.split()[1] for line in text.splitlines() if line.startswith("Rss")}
    return int(of.get("RssAnon", 0)) / 1e6, int(of.get("RssFile", 0)) / 1e6


def extrapolated(own: dict[int, float]) -> list[str]:
    """The peak is a·n + b, from the smallest and the largest size."""
    if len(own) < 2:
        return []
    (n, low), (more, high) = min(own.items()), max(own.items())
    a = (high - low) * 1e9 / (more - n)
    b = low - a * n / 1e9
    words = f"the largest peak of a process's own memory is {b:.2f} GB + {a:.0f} bytes a row, of vectors of {4 * D} bytes"
    return [f"{words}; 100 million rows: {b + a * 0.1:.1f} GB beside {4 * D * 0.1:.1f} GB of vectors on disk"]


def nothing(here: Path, n: int) -> str:
    import faiss  # noqa: F401  # for what it holds

    import curate  # noqa: F401

    return ""


def generate(here: Path, n: int) -> str:
    """Written a batch at a time, as other tools write: an Arrow file of many batches."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, D)).astype(np.float32)
    share = 1 / np.arange(1, 1001)
    schema = pa.schema({"embedding": pa.list_(pa.float32(), D)})
    with pa.OSFile(str(here / "vectors.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, n, 1 << 18):
            rows = min(n, start + (1 << 18)) - start
            drawn = centres[rng.choice(1000, rows, p=share / share.sum())] + 0.5 * rng.standard_normal((rows, D), np.float32)
            writer.write_batch(pa.record_batch([pa.FixedSizeListArray.from_arrays(drawn.reshape(-1), D)], schema=schema))
    return ""


def index(here: Path, n: int) -> str:
    from curate.index.indexes import plan
    from curate.index.neighbours import in_parts

    chosen = plan(n, D)
    there = matrix(here)
    started = time.process_time()
    parts = in_parts(there, chosen, here / "index", PART)
    seconds = time.process_time() - started
    return f"{chosen.factory}, trained on {chosen.trained_on:,} rows, {len(parts)} files, {seconds:.1f} CPU s; {chosen.why}"


def ask(here: Path, n: int) -> str:
    from curate.index.indexes import plan, search_parts
    from curate.index.neighbours import in_parts

    there = matrix(here)
    queries = np.ascontiguousarray(there[:: n // 200][:200], np.float32)
    parts = in_parts(there, plan(n, D), here / "index", PART)
    started = time.process_time()
    rows, _ = search_parts(parts, queries, 16)
    each = (time.process_time() - started) / len(queries)
    exact = nearest(there, queries, 16)
    recall = np.mean([len(np.intersect1d(a, b)) / 16 for a, b in zip(rows, exact, strict=True)])
    return f"{parts[0].plan.probes} of {parts[0].plan.cells:,} cells, {1000 * each:.1f} ms a query, recall {recall:.3f}"


def matrix(here: Path) -> np.ndarray:
    from curate.embeddings import Embeddings

    return Embeddings.open(here / "embeddings").matrix


def nearest(there: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    best, rows = np.full((len(queries), k), np.inf, np.float32), np.zeros((len(queries), k), np.int64)
    for start in range(0, len(there), 1 << 16):
        part = there[start : start + (1 << 16)]
        far = (part * part).sum(axis=1) - 2 * queries @ part.T
        both, names = np.hstack([best, far]), np.hstack([rows, np.broadcast_to(np.arange(start, start + len(part)), far.shape)])
        order = np.argpartition(both, k, axis=1)[:, :k]
        best, rows = np.take_along_axis(both, order, axis=1), np.take_along_axis(names, order, axis=1)
    return rows


STAGES: dict[str, Callable[[Path, int], str]] = {"nothing": nothing, "generate": generate, "index": index, "ask": ask}


if __name__ == "__main__":
    main()
