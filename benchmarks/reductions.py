"""How fast signals become scores, beside the official codes, in one process on the same logits.

    git clone https://github.com/allenai/cartography
    git clone https://github.com/mtoneva/example_forgetting
    git clone https://github.com/zhangxin-xd/Dataset-Pruning-TDDS
    python benchmarks/reductions.py --cartography cartography --forgetting example_forgetting --tdds Dataset-Pruning-TDDS

Needs pandas, scipy and tqdm besides curatekit. Takes about a minute; results/reductions.txt holds one run. "signal" is what the recorder
does while training (here for all epochs at once), "score" the reduction of a stored signal; an official code that keeps logits
does both at once, so the ratio charges us both, and the best of three of ours is compared with one run of theirs.
"""

import argparse
import ast
import contextlib
import io
import logging
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
import tqdm
from numpy import linalg
from scipy.special import softmax

from curate.protocols import Array, Columns, Scorer
from curate.scorers.dynamics.datamap import DataMap
from curate.scorers.dynamics.forgetting import Forgetting
from curate.scorers.dynamics.tdds import TDDS
from curate.testing import shard_of


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("cartography", "forgetting", "tdds"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="a checkout of the official code")
    paths = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__} on {torch.get_num_threads()} threads")
    print(f"{'':30}{'official s':>12}{'signal s':>10}{'score s':>10}{'ratio':>8}   agreement")
    datamap(paths.cartography / "cartography/selection/train_dy_filtering.py")
    forgetting(paths.forgetting / "order_examples_by_forgetting.py")
    tdds(paths.tdds / "importance_evaluation.py")


def datamap(source: Path, n: int = 50_000, epochs: int = 6, classes: int = 3) -> None:
    logits, label = learning_logits(n, epochs, classes)
    theirs = functions_of(
        source, np=np, pd=pd, torch=torch, tqdm=quiet_tqdm(), defaultdict=defaultdict, logger=logging.getLogger(), List=list
    )
    records = {row: {"logits": logits[row].tolist(), "gold": int(label[row])} for row in range(n)}
    args = SimpleNamespace(include_ci=False, burn_out=epochs)

    official_seconds, (frame, _) = timed(lambda: theirs["compute_train_dy_metrics"](records, args))
    signal_seconds, signals = best(lambda: of_label(logits, label))
    score_seconds, found = best(lambda: scored(DataMap(), signals))

    columns = ("confidence", "variability", "correctness", "threshold_closeness")
    apart = max(float(np.abs(frame[column].to_numpy() - found[column]).max()) for column in columns)
    line(f"datamap N={n} E={epochs} C={classes}", official_seconds, signal_seconds, score_seconds, f"largest difference {apart:.1e}")


def forgetting(source: Path, n: int = 50_000, epochs: int = 200) -> None:
    rng = np.random.default_rng(1)
    correct = (rng.random((n, epochs)) < rng.random((n, 1))).astype(np.float32)
    correct[: n // 50] = 0  # never learned
    theirs = functions_of(source, np=np)
    stats = {row: [[], history, history] for row, history in enumerate(correct.astype(int).tolist())}

    def official() -> tuple[Array, Array]:
        _, unlearned, _, first = theirs["compute_forgetting_statistics"](stats, epochs)
        rows, counts = theirs["sort_examples_by_forgetting"]([unlearned], [first], epochs)
        return rows, counts

    official_seconds, (rows, counts) = timed(official)
    score_seconds, found = best(lambda: scored(Forgetting(), {"dynamics.correct": correct}))

    equal = "all counts equal" if np.array_equal(found["score"][rows], counts) else "counts DIFFER"
    line(f"forgetting N={n} E={epochs}", official_seconds, 0.0, score_seconds, equal)


def tdds(source: Path, n: int = 5_000, epochs: int = 30, classes: int = 100, window: int = 10) -> None:
    logits, _ = learning_logits(n, epochs, classes)
    history = np.ascontiguousarray(logits.transpose(1, 0, 2))  # (epochs, n, classes), as their training script writes
    order = np.tile(np.arange(n), (epochs, 1))
    with tempfile.TemporaryDirectory() as folder:
        args = SimpleNamespace(window_size=window, trajectory_len=epochs, decay=0.9, mask_path=f"{folder}/")
        theirs = functions_of(source, np=np, torch=torch, LA=linalg, softmax=softmax, args=args, os=os)
        official_seconds, _ = timed(lambda: theirs["generate"](history, None, order))
        ranked = np.load(f"{folder}/data_mask_win{window}_ep{epochs}.npy")
        values = np.load(f"{folder}/score_win{window}_ep{epochs}.npy")

    signal_seconds, kappa = best(lambda: changes(history))
    score_seconds, found = best(lambda: scored(TDDS(window=window), {"dynamics.kappa": kappa}))

    apart = float((np.abs(found["score"][ranked] - values) / values).max())
    line(
        f"tdds N={n} T={epochs} C={classes} J={window}",
        official_seconds,
        signal_seconds,
        score_seconds,
        f"largest relative difference {apart:.1e}",
    )


def learning_logits(n: int, epochs: int, classes: int) -> tuple[Array, Array]:
    """Logits that drift towards the label, (n, epochs, classes) float32, and the labels, (n,)."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, epochs, classes)).astype(np.float32)
    logits[np.arange(n), :, label] += np.linspace(0, 3, epochs, dtype=np.float32)
    return logits, label


def of_label(logits: Array, label: Array) -> dict[str, Array]:
    scores = torch.log_softmax(torch.from_numpy(logits), dim=2).numpy()
    return {
        "dynamics.loss": -scores[np.arange(len(label)), :, label],
        "dynamics.correct": (logits.argmax(axis=2) == label[:, None]).astype(np.float32),
    }


def changes(history: Array) -> Array:
    kappa = np.full((history.shape[1], len(history)), np.nan, np.float32)
    last = None
    for epoch, logits in enumerate(history):
        p = torch.softmax(torch.from_numpy(logits), dim=1)
        log = torch.log(p + 1e-8)
        if last is not None:
            kappa[:, epoch] = (p * (log - last)).abs().sum(dim=1).numpy()
        last = log
    return kappa


def scored(scorer: Scorer, signals: dict[str, Array]) -> Columns:
    shard = shard_of(signals)
    settled = scorer.settle(next(iter(signals.values())).shape[1])
    state = None
    for _ in range(settled.passes):
        state = settled.merge([settled.fit(shard, state)])
    return settled.score(shard, state)


def functions_of(source: Path, **names: Any) -> dict[str, Any]:
    """The functions that a script defines, unaltered, without running what else it does on import."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("plot")]
    exec(compile(tree, str(source), "exec"), names)
    return names


def quiet_tqdm() -> SimpleNamespace:
    return SimpleNamespace(tqdm=lambda items: tqdm.tqdm(items, disable=True))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        result = work()
        return time.perf_counter() - started, result


def best(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    runs = [timed(work) for _ in range(repeats)]
    return min(seconds for seconds, _ in runs), runs[-1][1]


def line(name: str, official: float, signal: float, score: float, agreement: str) -> None:
    print(f"{name:30}{official:12.2f}{signal:10.3f}{score:10.3f}{official / (signal + score):7.0f}×   {agreement}")


if __name__ == "__main__":
    main()
