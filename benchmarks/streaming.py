"""A million documents through line filters, MinHash, the quality classifier and DSIR: rows a second of each, and memory that does not grow.

    python benchmarks/streaming.py --data webtext-mix.parquet [--rows N …] [--dir DIR] > benchmarks/results/streaming.txt

The documents are made from real text: each takes up to six sentences of one, and a fifth of them also some of another, drawn with
replacement, so that near-duplicates are among them; they are written to a JSONL file, a piece at a time. Then the commands that anybody
would give, each in a process of its own: `curate score` a stage (all in one store), and `curate select` with a cut by every one of them.
Before that, the same with fewer rows. CPU seconds are the process's, of one thread, its start of some 2 s included, and for the
first stage the reading of JSONL. Memory is the peak of what the process holds itself (RssAnon); pages of mapped files, which the system
takes back at will, are left out.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

CURATE = [sys.executable, "-c", "from curate.cli import main; main()"]
STAGES = ("line_filters", "minhash", "quality", "dsir")
CUT = "line_filters >= 0.6 and not minhash.is_duplicate and quality >= 0.2"
PIECE = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    parser.add_argument("--dir", type=Path, default=None, help="where to write; needs about 3 kB a row")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as place:
        for n in given.rows:
            through(Path(place) / str(n), given.data, n)


def through(folder: Path, data: Path, n: int) -> None:
    folder.mkdir()
    corpus, target = folder / "corpus.jsonl", folder / "target.jsonl"
    table = pq.read_table(data).to_pydict()
    texts = [text for text, of in zip(table["text"], table["source"], strict=True) if of != "udhr"]
    good = [text for text, of in zip(table["text"], table["source"], strict=True) if of == "wikitext-2"]
    with open(corpus, "w", encoding="utf-8") as file:
        for document in documents(texts, n):
            file.write(json.dumps({"text": document}) + "\n")
    target.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents(good, 5000)), encoding="utf-8")
    size = corpus.stat().st_size / 1e6
    print(f"{n:,} documents, {size:,.0f} MB of JSONL; target 5,000 documents", flush=True)
    told(f"{'':30}{'CPU s':>8}{'rows/s':>10}{'MB/s':>8}{'memory, MB':>12}")
    store = folder / "scores"
    for stage in STAGES:
        asked = [str(corpus), "--scorer", stage, "--out", str(store), "--quiet"]
        asked += ["--target", str(target)] if stage in ("quality", "dsir") else []
        report(f"curate score {stage}", ["score", *asked], folder, n, size)
    picked = ["select", str(corpus), "--scores", str(store), "--where", CUT, "--by", "dsir", "--sampler", "gumbel:scale=raw,temperature=1"]
    report("curate select", [*picked, "--budget", "1%", "--rows-only", "--out", str(folder / "subset")], folder, n, size)
    print(flush=True)


def documents(texts: list[str], n: int) -> Iterator[str]:
    """`n` documents, each some sentences in a row of a drawn text; the same ones, however many are asked for."""
    sentences = [[s for s in re.split(r"(?<=[.!?])\s+|\n+", text) if s.strip()] for text in texts]
    sentences = [[sentence[:400] for sentence in of_text] for of_text in sentences if of_text]
    rng = np.random.default_rng(0)
    for start in range(0, n, PIECE):
        one, other = rng.integers(len(sentences), size=(2, PIECE))
        begin, length = rng.random(PIECE), rng.integers(1, 7, PIECE)
        mixed = rng.random(PIECE) < 0.2
        for i in range(min(PIECE, n - start)):
            chosen = sentences[one[i]]
            at = int(begin[i] * len(chosen))
            more = sentences[other[i]][: length[i]] if mixed[i] else []
            yield "\n".join([" ".join(chosen[at : at + length[i]]), *more])


def report(name: str, arguments: list[str], folder: Path, n: int, size: float) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*CURATE, *arguments], env=environment, stdout=subprocess.DEVNULL)
    peak = [0]
    watch = threading.Thread(target=_watch, args=(process, peak))
    watch.start()
    if process.wait():
        raise SystemExit(f"{name} failed")
    watch.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told(f"{name:30}{seconds:8.1f}{n / seconds:10,.0f}{size / seconds:8.1f}{peak[0] / 1e3:12,.0f}")


def _watch(process: "subprocess.Popen[bytes]", peak: list[int]) -> None:
    """Keeps the most that the process held, kB."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
        except OSError:
            return
        peak[0] = max(peak[0], int(found[1]) if found else 0)
        time.sleep(0.02)


def told(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
