"""DSIR beside the official package, contamination beside sets of n-grams, and the speed of every text scorer that needs no model.

    python benchmarks/text_scorers.py --data FOLDER [--ladder A+B+C] > benchmarks/results/text_scorers.txt

FOLDER holds webtext-mix/webtext-mix.parquet (1,869 documents, 3 kB on average) and ag-news-test/test.parquet. The peer, `pip install
data-selection==1.0.3 nltk==3.9.1`, is used where it is installed (NLTK from 3.10 on cuts words with combining marks otherwise than
Python's `re`). One thread, CPU seconds; about two minutes. The claims: in sha256 mode the weights are the package's to 1e-6; fast
mode is over ten times as fast, with numba over fifty times; dividing by length is what makes the ranking good on texts of uneven length
(c4 is an exception). All is run once with numpy alone and once with numba (`curatekit[compiled]`), whose numbers are the same.
Result on two shared cores: dsir 40 x and 62 x, contamination 27 and 53 MB/s (sets of tuples 6).
The ladder was three models of examples/small_language_model.py, 16, 48 and 96 wide; on news that are all whole every one is better than the
one before (978 of 1,000), so there is nothing to learn, as the fact says; tests/scorers/language/test_preselect.py has what is.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from curate import compiled
from curate.protocols import Shard
from curate.rng import KeyedRandom
from curate.scorers.language.lexical import Lexical
from curate.scorers.language.line_filters import LineFilters
from curate.scorers.language.preselect import PreSelect
from curate.scorers.target.contamination import Contamination
from curate.scorers.target.dsir import DSIR
from curate.scorers.target.quality import Quality

DOMAINS = ("pile/FreeLaw", "pile/StackExchange", "pile/Wikipedia (en)", "c4")
PEER_ROWS = 600


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ladder", default=None, help="folders of causal language models from the weakest to the strongest, A+B+C")
    given = parser.parse_args()
    data = given.data
    web = pq.read_table(data / "webtext-mix/webtext-mix.parquet").to_pydict()
    news = pq.read_table(data / "ag-news-test/test.parquet").to_pydict()
    titled = [f"{title} {text}" for title, text in zip(news["title"], news["description"], strict=True)]
    print(f"{platform.machine()}, {os.cpu_count()} cores shared with others, numpy {np.__version__}; CPU seconds, one thread\n")
    english = [text for text, of in zip(web["text"], web["source"], strict=True) if of != "udhr"] * 4
    for name, wait in (("numpy alone", 1 << 60), ("numba", compiled.WORTH)):
        compiled.WORTH = wait  # characters for which it is waited; here not at all, or for good
        if name == "numba" and not compiled.begin():
            print("numba is not installed\n")
            break
        print(f"== {name}\n")
        for scorer in (DSIR(), DSIR(hash="sha256")):
            scored(scorer, web["text"][:2], web["text"][:2])  # tables, and what numba compiles
        against_the_package(web["text"][:PEER_ROWS], web["text"][::37])
        speeds(web["text"], web["text"][::37])
        against_sets(english, titled[:2000])
    planted_gibberish(
        [text for text, of in zip(web["text"], web["source"], strict=True) if of in ("c4", "wikitext-2", "pile/OpenWebText2")]
    )
    if given.ladder:
        climbed(given.ladder.split("+"), titled)
    precision("webtext-mix", web["text"], np.array(web["source"]), DOMAINS)
    precision("ag-news-test", titled, np.array(news["label"]), (0, 1, 2, 3))


def scored(scorer, texts, target=None):
    """All passes of a scorer over these texts as one shard, and the CPU seconds that they took."""
    started = time.process_time()
    rows, told = shard(texts, "text"), {}
    if target is not None:
        state = scorer.merge_target([scorer.fit_target(shard(target, "target.text"))])
        told = {f"target.{key}": value for key, value in state.items()}
    state = told or None
    for _ in range(scorer.passes):
        state = scorer.merge([scorer.fit(rows, state)]) | told
    return scorer.score(rows, state), time.process_time() - started


def shard(texts, name):
    return Shard(np.arange(len(texts)), {name: np.array(texts, object)})


def against_the_package(texts, target):
    try:
        from data_selection.hashed_ngram_dsir import get_ngram_counts
    except ImportError:
        print("data-selection is not installed\n")
        return
    started = time.process_time()
    p = []
    for some in (target, texts):
        counts = np.zeros(10_000, int)
        for text in some:
            counts = get_ngram_counts(text, counts=counts)
        p.append(counts / counts.sum())
    ratio = np.log(p[0] + 1e-8) - np.log(p[1] + 1e-8)
    official = np.array([ratio @ get_ngram_counts(text) for text in texts])
    theirs = time.process_time() - started
    print(f"dsir, {len(texts)} documents, {sum(map(len, texts)) / 1e6:.1f} M characters, target {len(target)}: fit and weights")
    print(f"  data-selection 1.0.3        {theirs:7.2f} s     1 x")
    for mode in ("sha256", "fast"):
        found, ours = scored(DSIR(hash=mode), texts, target)
        error = np.abs(found["log_weight"] / official - 1).max()
        told = (
            f"largest relative difference {error:.1e}"
            if mode == "sha256"
            else f"rank correlation {spearman(found['log_weight'], official):.3f}"
        )
        print(f"  ours, hash={mode:7}          {ours:7.2f} s {theirs / ours:5.0f} x   {told}")
    print()


def speeds(texts, target):
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} documents, {size:.1f} MB, target {len(target)}; all passes")
    scorers = {
        "dsir": (DSIR(), target),
        "dsir:hash=sha256": (DSIR(hash="sha256"), target),
        "contamination": (Contamination(), target),
        "contamination:report=false": (Contamination(report=False), target),
        "quality": (Quality(), target),
        "line_filters:bigram": (LineFilters(reference="bigram"), None),
        "lexical": (Lexical(), None),
    }
    for name, (scorer, goal) in scorers.items():
        _, seconds = scored(scorer, texts, goal)
        print(f"  {name:27} {seconds:6.2f} s {len(texts) / seconds:9,.0f} documents/s {size / seconds:6.1f} MB/s")
    print()


def climbed(ladder, texts, sample=1000):
    """PreSelect: what the models take that read a sample, what the classifier takes that reads everything."""
    scorer, rows, spent = PreSelect(models=tuple(ladder), sample=sample), shard(texts, "text"), []
    scorer.open("cpu")
    state = None
    for step in ("drawing", "reading and learning"):
        started = time.process_time()
        state = scorer.merge([scorer.fit(rows, state)])
        spent.append((step, sample if step != "drawing" else len(texts), time.process_time() - started))
    started = time.process_time()
    scorer.score(rows, state)
    spent.append(("scoring", len(texts), time.process_time() - started))
    print(f"preselect, {len(texts):,} news, a ladder of {len(ladder)} models, sample {sample:,}: {dict(scorer.conclude(state))}")
    for step, n, seconds in spent:
        print(f"  {step:27} {seconds:6.2f} s {n / seconds:9,.0f} documents/s")
    print()


def against_sets(texts, target, n=13):
    """Everyone's first version: tuples of words in a set."""
    import re

    started = time.process_time()
    items = [re.findall(r"\w+", text.lower()) for text in target]
    grams = {tuple(words[i : i + n]) for words in items for i in range(len(words) - n + 1)}
    hits = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        hits.append(sum(tuple(words[i : i + n]) in grams for i in range(len(words) - n + 1)))
    theirs = time.process_time() - started
    found, ours = scored(Contamination(n=n, shortest=n, report=False), texts, target)
    same = "the same hits" if found["hits"].tolist() == hits else "OTHER HITS"
    size = sum(len(text.encode()) for text in texts) / 1e9
    print(f"contamination, n = {n}, {len(grams):,} n-grams, {size * 1e3:.0f} MB of English text")
    for name, seconds in (("sets of tuples", theirs), ("ours", ours)):
        print(f"  {name:27} {seconds:6.2f} s   {size / seconds:.4f} GB/s {theirs / seconds:5.1f} x")
    print(f"  {same}\n")


def planted_gibberish(texts):
    """Lines of random letters in real documents: does the score fall with their share, and does a cut find documents of nothing else?"""
    rng = np.random.default_rng(0)
    share, spoilt = [], []
    for text in texts:
        lines = [line for line in text.split("\n") if line.strip()][:20]
        bad = rng.random(len(lines)) < (1 if rng.random() < 1 / 6 else rng.random() / 2)
        share.append(bad.mean())
        spoilt.append("\n".join(_noise(line, rng) if is_bad else line for line, is_bad in zip(lines, bad, strict=True)))
    whole = np.array(share) == 1
    print(f"line_filters on {len(texts)} real documents, {whole.sum()} all gibberish, of the others up to half of the lines")
    for name, scorer in (("equal weights", LineFilters()), ("reference=bigram", LineFilters(reference="bigram"))):
        score = scored(scorer, spoilt)[0]["score"]
        found = whole[np.argsort(score, kind="stable")[: len(texts) // 5]].sum() / whole.sum()
        print(
            f"  {name:18} rank correlation with the share {spearman(score, share):.2f}; a cut of a fifth removes {found:.0%} of the former"
        )
    print()


def _noise(line, rng):
    letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz0123456789{}#;,"), len(line))
    return "".join(mark if mark == " " else letter for mark, letter in zip(line, letters, strict=True))


def precision(name, texts, domains, targets):
    """Half of a domain is the target; how much of the other half is in the best k, k being its size."""
    print(f"{name}: share of the target's other half among as many chosen")
    print(f"  {'target':24} {'random':>7} {'none':>7} {'sqrt':>7} {'chunk':>7} {'+0.1':>7} {'quality':>8}")
    for target in targets:
        members = np.flatnonzero(domains == target)
        goal = members[KeyedRandom(0, "split").uniform(members) < 0.5]
        rows = np.setdiff1d(np.arange(len(texts)), goal)
        near, own = domains[rows] == target, [texts[i] for i in rows]
        chosen = [KeyedRandom(0, "random").uniform(rows)]
        for scorer in (DSIR(length="none"), DSIR(length="sqrt"), DSIR(), DSIR(laplace=0.1), Quality()):
            chosen.append(scored(scorer, own, [texts[i] for i in goal])[0]["score"])
        shares = [near[np.argsort(-score)[: near.sum()]].mean() for score in chosen]
        print(f"  {target!s:24} " + " ".join(f"{share:7.3f}" for share in shares))
    print()


def spearman(a, b):
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])


if __name__ == "__main__":
    main()
