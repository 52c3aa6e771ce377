"""MinHash signatures by numpy and by rensa against datasketch and rensa used by hand: microseconds of CPU a document, and the pairs found.

    OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 python benchmarks/minhash.py --data webtext.parquet [--column text] [--repeat 3]

Peers: datasketch (`update_batch`, 112 permutations) and rensa (`RMinHash`), each where it is installed. They get the word 5-grams; ours
cut the words besides, which for the peers is timed apart. Time of each is the best of `--repeat`. Planted: every document again with one
word in forty changed; found are those that the bands bring together with what they were made of.

Result (benchmarks/results/minhash.txt; one thread of a shared machine): numpy is 10 to 13 times as fast as datasketch. Signatures by rensa
from our hashes, the default where it is installed, take two thirds of numpy's time, words included, of which the words are most; rensa by
hand, with the words cut in Python as its users must, three times numpy's. All four find what the formula says.
"""

import argparse
import importlib.util
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.index.components import components
from curate.index.minhash import band_keys, found_pairs, rensa_version, signatures

COUNT, BANDS, NGRAM = 112, 14, 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--column", default="text")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    texts = [text for text in pq.read_table(given.data).column(given.column).to_pylist() if text and len(text.split()) >= 2 * NGRAM]
    copies = [changed(text, seed) for seed, text in enumerate(texts)]
    grams, changed_grams = [shingles(text) for text in texts], [shingles(text) for text in copies]
    true = np.array([len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in zip(grams, changed_grams, strict=True)])
    print(f"{len(texts):,} documents, {np.mean([len(text) for text in texts]):,.0f} characters each")

    cutting, _ = best(lambda: [shingles(text) for text in texts], given.repeat)
    makers: dict[str, Callable[[Any], Any]] = {"curate, numpy": lambda rows: signatures(rows, COUNT, NGRAM)[0]}
    if rensa_version():
        makers[f"curate, rensa {rensa_version()}"] = lambda rows: signatures(rows, COUNT, NGRAM, "rensa")[0]
    peers = {name: run for name, run in {"datasketch": datasketch, "rensa": rensa}.items() if importlib.util.find_spec(name)}
    seconds, minima = {}, {}
    for name, make in makers.items():
        seconds[name], minima[name] = best(lambda make=make: make(texts), given.repeat)  # type: ignore[misc]
        minima[name] = np.concatenate([minima[name], make(copies)])
    for name, peer in peers.items():
        seconds[name], made = best(lambda peer=peer: peer(grams), given.repeat)  # type: ignore[misc]
        minima[name] = np.concatenate([digests(made), digests(peer(changed_grams))])

    first = seconds["curate, numpy"]
    for name in makers:
        print(f"{name:22s} {1e6 * seconds[name] / len(texts):6.0f} µs a document, words included, {seconds[name] / first:5.2f} of numpy's")
    print(f"{'(words of the peers)':22s} {1e6 * cutting / len(texts):6.0f} µs a document, by re")
    for name in peers:
        both, each = seconds[name] + cutting, 1e6 * seconds[name] / len(texts)
        print(f"{name:22s} {each:6.0f} µs a document, n-grams given; {both / first:5.2f} of numpy's with its words")
    for name, drawn in minima.items():
        recall(name, drawn, true)


def recall(name: str, minima: NDArray[np.uint32], true: NDArray[np.float64]) -> None:
    """How many of the changed copies hang together with what they were made of, by how similar they are."""
    n = len(true)
    started = time.process_time()
    group = components(found_pairs(band_keys(minima, BANDS).T, None, 0.0), len(minima))
    print(f"{name}: bands and components of {len(minima):,} in {time.process_time() - started:.2f} s")
    found = group[:n] == group[n:]
    for low, high in ((0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        inside = (true >= low) & (true < high)
        if inside.any():
            expected = (1 - (1 - true[inside] ** (COUNT // BANDS)) ** BANDS).mean()
            share = found[inside].mean()
            print(f"  similarity {low} to {min(high, 1)}: {inside.sum():,} pairs, {share:.3f} found, {expected:.3f} by the formula")


def digests(made: list[Any]) -> NDArray[np.uint32]:
    return np.array([getattr(one, "hashvalues", one) for one in made]).astype(np.uint32)


def best(run: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    times = []
    for _ in range(repeat):
        started = time.process_time()
        made = run()
        times.append(time.process_time() - started)
    return min(times), made


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
