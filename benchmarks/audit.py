"""`curate audit` on sets with a mess planted at known rates: what it finds of each kind, what else it flags, and how long it takes.

    OMP_NUM_THREADS=1 python benchmarks/audit.py --data DATA_DIR --dir DIR --out benchmarks/results/audit.txt

DATA_DIR holds clickbait (10,000 headlines), goemotions (10,000 comments of one emotion) and fashion-mnist (6,000 images); the fourth set is
generated, 5,000 vectors about 10 centres, and has no faults but the planted ones. Planted: 2 % exact copies, 2 % near copies (a word
dropped; a shifted brightness; a thousandth of noise), 1 % junk (empty, keyboard noise, markup; images of one colour or of noise), 5 %
changed labels, 2 % rows of the test set. "elsewhere" are rows flagged that were not planted: false alarms on the generated set, on the
real ones also what was there before.
"""

import argparse
import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.stages.auditing import audit
from curate.terminal import columns

Rows = list[int]
COPIES, NEAR, JUNK, FLIPS, LEAKS = 0.02, 0.02, 0.01, 0.05, 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        data, test, planted = SETS[name](arguments.data, np.random.default_rng(0))
        if isinstance(data, pa.Table):  # so that the commands on the page can be run
            data, test = (written(table, arguments.dir / f"{name}-{part}.parquet") for table, part in ((data, "train"), (test, "test")))
        wall, cpu = time.perf_counter(), time.process_time()
        found = audit(data, test=test, out=arguments.dir / name, source=str(data) if isinstance(data, str) else "DATA", overwrite=True)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        notes = "; ".join(f"{kind}: {note}" for kind, note in found.notes.items() if kind == "label_issue")
        text = f"{name}: {found.n:,} rows, {cpu:.0f} CPU seconds, {wall:.0f} on the clock\n{table_of(found.found, planted)}\n{notes}\n"
        print(text, flush=True)
        (arguments.dir / f"{name}.txt").write_text(text)
    there = [path for name in SETS if (path := arguments.dir / f"{name}.txt").is_file()]
    arguments.out.write_text("\n".join(path.read_text() for path in there))


def table_of(found: dict[str, np.ndarray], planted: dict[str, Rows]) -> str:
    everything = {row for rows in planted.values() for row in rows}
    lines = []
    for kind, mask in found.items():
        flagged, there = set(np.flatnonzero(mask).tolist()), set(planted.get(kind, []))
        share = f"{len(flagged & there) / len(there):.1%}" if there else ""
        lines.append(
            [
                kind,
                str(len(there)),
                str(len(flagged & there)),
                share,
                str(len(flagged - everything)),
                str(len(flagged & everything - there)),
            ]
        )
    return columns(lines, ["kind", "planted", "found", "share", "elsewhere", "planted as another kind"])


def written(table: pa.Table, path: Path) -> str:
    pq.write_table(table, path)
    return str(path)


def plant(
    rows: list[Any], labels: np.ndarray, test: list[Any], test_labels: np.ndarray, near: Callable[..., Any], junk: list[Any], rng: Any
) -> tuple[list[Any], np.ndarray, dict[str, Rows]]:
    """The rows and labels with a mess behind them, and which rows are of which kind."""
    n, classes = len(rows), int(labels.max()) + 1
    flips = rng.choice(n, int(FLIPS * n), replace=False)
    labels = labels.copy()
    labels[flips] = (labels[flips] + rng.integers(1, classes, len(flips))) % classes
    copied = rng.choice(np.setdiff1d(np.arange(n), flips), int((COPIES + NEAR) * n), replace=False)
    copies, nearly = np.split(copied, [int(COPIES * n)])
    leaked = rng.choice(len(test), int(LEAKS * n), replace=False)
    half = len(leaked) // 2
    more = {
        "exact_duplicate": ([rows[i] for i in copies], labels[copies]),
        "near_duplicate": ([near(rows[i], rng) for i in nearly], labels[nearly]),
        "leak": ([test[i] if j < half else near(test[i], rng) for j, i in enumerate(leaked)], test_labels[leaked]),
        "junk": (junk, rng.integers(0, classes, len(junk))),
    }
    planted: dict[str, Rows] = {"label_issue": flips.tolist()}
    out, start = list(rows), n
    for kind, (values, given) in more.items():
        planted[kind] = list(range(start, start + len(values)))
        out, labels, start = [*out, *values], np.concatenate([labels, given]), start + len(values)
    return out, labels, planted


def texts(table: pa.Table, column: str, n: int, rng: Any) -> tuple[pa.Table, pa.Table, dict[str, Rows]]:
    names, codes = np.unique(np.asarray(table.column(column)), return_inverse=True)
    order = rng.permutation(table.num_rows)
    all_texts = np.asarray(table.column("text"), object)[order]
    long = [i for i in range(len(all_texts)) if len(all_texts[i].split()) >= 8]  # a word less of fewer is another text
    train, test = long[:n], long[n : n + 1000]
    third = int(JUNK * n) // 3
    junk = [
        *[" " * int(rng.integers(0, 4)) for _ in range(third)],
        *["".join(rng.choice(list("asdfghjkl;'qwrtpzxvb"), 40)) for _ in range(third)],
        *[f'<div class="x{i}"><a href="#">more</a>&nbsp;</div>' for i in range(third)],
    ]
    rows, labels, planted = plant(
        [all_texts[i] for i in train], codes[order[train]], [all_texts[i] for i in test], codes[order[test]], without_a_word, junk, rng
    )
    planted["empty"], planted["odd"] = planted["junk"][:third], planted.pop("junk")[third:]
    other = pa.table({"text": [all_texts[i] for i in test], "label": [str(names[code]) for code in codes[order[test]]]})
    return pa.table({"text": rows, "label": [str(names[code]) for code in labels]}), other, planted


def without_a_word(text: str, rng: Any) -> str:
    words = text.split()
    del words[int(rng.integers(len(words)))]
    return " ".join(words)


def clickbait(folder: Path, rng: Any) -> Any:
    return texts(pq.read_table(folder / "clickbait" / "headlines.parquet"), "clickbait", 10_000, rng)


def goemotions(folder: Path, rng: Any) -> Any:
    table = pq.read_table(folder / "goemotions" / "train.parquet")
    emotions = (folder / "goemotions" / "labels.txt").read_text().split()
    single = [i for i, codes in enumerate(table.column("labels").to_pylist()) if len(codes) == 1]
    chosen = table.take(single)
    return texts(
        pa.table({"text": chosen.column("text"), "emotion": [emotions[codes[0]] for codes in chosen.column("labels").to_pylist()]}),
        "emotion",
        10_000,
        rng,
    )


def fashion(folder: Path, rng: Any) -> Any:
    images, labels = idx(folder / "fashion-mnist", "train", 6000)
    others, other_labels = idx(folder / "fashion-mnist", "t10k", 1000)
    half = int(JUNK * len(images)) // 2
    junk = [
        *[np.full((28, 28), int(rng.integers(256)), np.uint8) for _ in range(half)],
        *[rng.integers(0, 256, (28, 28)).astype(np.uint8) for _ in range(half)],
    ]
    rows, given, planted = plant(list(images), labels, list(others), other_labels, brighter, junk, rng)
    planted["odd"] = planted.pop("junk")
    return (np.stack(rows), given), (others, other_labels), planted


def brighter(image: np.ndarray, rng: Any) -> np.ndarray:
    return np.clip(image.astype(np.int64) + int(rng.integers(1, 4)) * (image > 0), 0, 255).astype(np.uint8)


def idx(folder: Path, part: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (gzip.decompress((folder / f"{part}-{name}-ubyte.gz").read_bytes()) for name in ("images-idx3", "labels-idx1"))
    return np.frombuffer(images, np.uint8, n * 784, 16).reshape(n, 28, 28), np.frombuffer(labels, np.uint8, n, 8).astype(np.int64)


def generated(folder: Path, rng: Any) -> Any:
    centres = rng.normal(size=(10, 32))
    codes = rng.integers(0, 10, 6000)
    vectors = (centres[codes] + 0.5 * rng.normal(size=(6000, 32))).astype(np.float32)
    junk = [(12 * rng.normal(size=32)).astype(np.float32) for _ in range(int(JUNK * 5000))]
    rows, labels, planted = plant(list(vectors[:5000]), codes[:5000], list(vectors[5000:]), codes[5000:], moved, junk, rng)
    planted["outlier"] = planted.pop("junk")
    return (np.stack(rows), labels), (vectors[5000:], codes[5000:]), planted


def moved(vector: np.ndarray, rng: Any) -> np.ndarray:
    return (vector * (1 + 1e-3 * rng.normal(size=len(vector)))).astype(np.float32)


SETS = {"clickbait": clickbait, "goemotions": goemotions, "fashion": fashion, "generated": generated}

if __name__ == "__main__":
    main()
