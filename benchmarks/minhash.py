"""MinHash signatures against datasketch and rensa: microseconds of CPU a document, one process, one thread, and the pairs found.

    python benchmarks/minhash.py --data webtext.parquet [--column text] [--repeat 3]

Peers: datasketch (`update_batch`, 112 permutations) and rensa (`RMinHash`), each where it is installed. All three get the same word
5-grams; ours also cuts the words, which for the peers is timed apart. Time of each is the best of `--repeat`. Planted: every document
again with one word in forty changed.

Result (benchmarks/results/minhash.txt; one thread of a shared machine): 9 to 12 times as fast as datasketch. rensa, in Rust, hashes
n-grams that are given 8 times as fast; with the words cut in Python, as its users must, it takes 2.6 times as long as ours.
"""

import argparse
import importlib.util
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curate.index.components import components
from curate.index.minhash import band_keys, found_pairs, signatures

COUNT, BANDS, NGRAM = 112, 14, 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    texts = [text for text in pq.read_table(given.data).column(given.column).to_pylist() if text and len(text.split()) >= 2 * NGRAM]
    print(f"{len(texts):,} documents, {np.mean([len(text) for text in texts]):,.0f} characters each")

    seconds, minima = best(lambda: signatures(texts, COUNT, NGRAM)[0], given.repeat)
    report("curate, words included", seconds, len(texts))
    cutting, grams = best(lambda: [shingles(text) for text in texts], given.repeat)
    report("(peers' words and n-grams, by re)", cutting, len(texts))
    for name, peer in (("datasketch", datasketch), ("rensa", rensa)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed")
            continue
        taken, _ = best(lambda peer=peer: peer(grams), given.repeat)  # type: ignore[misc]
        report(f"{name}, n-grams given", taken, len(texts))
        print(f"  {name} / curate: {taken / seconds:.2f} without its words, {(taken + cutting) / seconds:.2f} with them")

    copies = [changed(text, seed) for seed, text in enumerate(texts)]
    both = np.concatenate([minima, signatures(copies, COUNT, NGRAM)[0]])
    started = time.process_time()
    group = components(found_pairs(band_keys(both, BANDS).T, None, 0.0), len(both))
    print(f"bands and components of {len(both):,}: {time.process_time() - started:.2f} s")
    n = len(texts)
    true = np.array([len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in zip(grams, map(shingles, copies), strict=True)])
    found = group[:n] == group[n:]
    for low, high in ((0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        inside = (true >= low) & (true < high)
        expected = (1 - (1 - true[inside] ** (COUNT // BANDS)) ** BANDS).mean() if inside.any() else np.nan
        share = found[inside].mean() if inside.any() else np.nan
        print(f"  similarity {low} to {min(high, 1)}: {inside.sum():,} pairs, {share:.3f} found, {expected:.3f} by the formula")


def best(run: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    times = []
    for _ in range(repeat):
        started = time.process_time()
        made = run()
        times.append(time.process_time() - started)
    return min(times), made


def report(name: str, seconds: float, n: int) -> None:
    print(f"{name}: {1e6 * seconds / n:.0f} µs a document")


def shingles(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]


def changed(text: str, seed: int) -> str:
    rng = np.random.default_rng(seed)
    words = text.split()
    for at in rng.choice(len(words), max(1, len(words) // 40), replace=False):
        words[at] = f"changed{rng.integers(10**6)}"
    return " ".join(words)


def datasketch(grams: list[list[str]]) -> list[Any]:
    from datasketch import MinHash

    made = []
    for row in grams:
        one = MinHash(num_perm=COUNT)
        one.update_batch([gram.encode() for gram in row])
        made.append(one)
    return made


def rensa(grams: list[list[str]]) -> list[Any]:
    from rensa import RMinHash

    made = []
    for row in grams:
        one = RMinHash(num_perm=COUNT, seed=1)
        one.update(row)
        made.append(one.digest())
    return made


if __name__ == "__main__":
    main()
