"""One shard of one scorer: a pure function of files and parameters to a file, so that any process may do it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.data import Dataset
from curate.disk import write_whole
from curate.embeddings import Embeddings
from curate.errors import InputError
from curate.plugins import Plugin, find_class
from curate.protocols import Columns, Iterates, MergesEarly, Opens, Pays, ReadsTarget, Scorer, Shard, SharesSeeds, State
from curate.scores import ROWS, Scores, join_seeds
from curate.stages.asked_signals import CONTENT, NEIGHBOURS, RUN_SIGNALS, SETS, SWEPT, TARGET
from curate.store import Entry, Store, as_arrow, as_numpy, entry_of, write_arrow

if TYPE_CHECKING:
    from curate.signals.runs import Run

NOT_PRESENTED: Final = "not_presented"
FINE: Final = (NOT_PRESENTED, "copy_of_target")  # reasons for a row to have no score that are no failure
NO_GRADIENT: Final = "no_gradient"  # the model saw the row, but what came out was not finite
ANSWERS: Final = "answers"  # the folder within a score's for what a server was paid to say
EARLY: Final = 16  # states that are held before they are merged, where that may be done early

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class ShardTask:
    """Everything that scoring rows first … stop-1 depends on."""

    path: Path
    name: str
    plugin: Plugin | None
    scorer: Scorer | None
    first: int
    stop: int
    seeds: tuple[int, ...]
    runs: tuple[Path, ...]
    data: Dataset
    failed: Mapping[int, str]
    borrowed: Path | None
    states: tuple[State | None, ...] = ()
    device: str = "cpu"
    swept: str | None = None  # the table of the run that holds what the scorer saw at the checkpoints
    embeddings: Path | None = None
    threads: int | None = None
    max_requests: int | None = None
    target_vectors: NDArray[Any] | None = None  # of all rows of the target, where `data` is that

    @property
    def is_portable(self) -> bool:
        """Whether another process can do it: it must find the class and open the rows by itself."""
        return self.plugin is not None and self.data.recipe is not None

    def with_states(self, states: Sequence[State | None]) -> "ShardTask":
        return replace(self, states=tuple(states))

    def built(self) -> Scorer:
        if self.scorer is not None:
            return self.scorer
        assert self.plugin is not None and self.plugin.where is not None, "a task without a scorer is portable"
        found: Scorer = find_class("scorers", self.plugin.where)(**self.plugin.options)
        return found

    def shards(self) -> list[Shard]:
        """The rows with the signals that the scorer asks for, one a seed."""
        from curate.signals.runs import Run

        requires = self.built().requires
        runs: list[Run | None] = [Run.open(path) for path in self.runs] or [None] * len(self.seeds)
        rows = np.arange(self.first, self.stop)
        wanted = [name for name in requires if name.split(".")[0] in RUN_SIGNALS]
        own_names = [name for name in requires if name not in wanted and not name.startswith(TARGET)]
        own = {name: self._of_row(name) for name in own_names}
        made = []
        for seed, run in zip(self.seeds, runs, strict=True):
            columns = own | (self._of_run(run, wanted) if run is not None else {})
            for column in columns.values():
                column.flags.writeable = False
            made.append(Shard(rows, columns, seed))
        return made

    def _of_run(self, run: "Run", names: Sequence[str]) -> dict[str, NDArray[Any]]:
        swept = [name for name in names if name.startswith(SWEPT)]
        found = run.columns([name for name in names if name not in swept], self.first, self.stop)
        return found | (run.swept(self.swept, swept, self.first, self.stop) if self.swept is not None else {})

    def _of_row(self, name: str) -> NDArray[Any]:
        if self.embeddings is not None and name == "embedding":
            return Embeddings.open(self.embeddings).matrix[self.first : self.stop].copy()
        if self.embeddings is not None and name.startswith(NEIGHBOURS):
            return _of_graph(self.embeddings, self.data, name, self.first, self.stop)
        return of_data(self.data, name, self.first, self.stop)

    def target_shards(self) -> list[Shard]:
        """The rows as a part of the target, where `data` is that, one a seed, or one for all where no run is read.

        The columns bear the names by which scorers ask for them.
        """
        from curate.signals.runs import Run

        names = [name for name in self.built().requires if name.startswith(TARGET)]
        swept = [name.removeprefix(TARGET) for name in names if name.startswith(TARGET + SWEPT)]
        columns = {name: self._of_target(name.removeprefix(TARGET)) for name in names if not name.startswith(TARGET + SWEPT)}
        made = []
        for path in self.runs if self.swept is not None else (None,):
            seen = {} if path is None else Run.open(path).swept(str(self.swept), swept, self.first, self.stop)
            every = columns | {TARGET + name: values for name, values in seen.items()}
            for column in every.values():
                column.flags.writeable = False
            made.append(Shard(np.arange(self.first, self.stop), every))
        return made

    def _of_target(self, name: str) -> NDArray[Any]:
        if name == "embedding" and self.target_vectors is not None:
            return self.target_vectors[self.first : self.stop].copy()
        return of_data(self.data, name, self.first, self.stop)

    def __getstate__(self) -> dict[str, Any]:
        """What crosses to another process: names and numbers; the dataset as its recipe, the scorer as its plug-in."""
        return {**self.__dict__, "scorer": None, "data": dict(self.data.recipe or {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from curate.loading import load

        self.__dict__.update({**state, "data": load(**state["data"])})


class _Held:
    """The scorer that this process holds open, one at a time: the next one's model may need the room."""

    scorer: Scorer | None = None
    key: object = None

    def of(self, task: ShardTask) -> Scorer:
        key = id(task.scorer) if task.scorer is not None else (task.plugin, task.device)
        if self.scorer is None or key != self.key:
            self.let_go()
            scorer = task.built()
            if isinstance(scorer, Pays) and scorer.server is not None:
                scorer.answers_in(task.path.parent / ANSWERS, task.max_requests)
            if isinstance(scorer, Opens):
                set_threads(task.threads)
                Finalize(None, self.let_go, exitpriority=1)  # a worker's last scorer is closed when the worker ends
                scorer.open(task.device)
            self.scorer, self.key = scorer, key
        return self.scorer

    def let_go(self) -> None:
        if isinstance(self.scorer, Opens):
            self.scorer.close()
        self.scorer = self.key = None


held = _Held()


def fit_states(scorer: Scorer, tasks: Sequence[ShardTask], each: Each, target: Sequence[State] | None = None) -> list[State | None]:
    """A seed's merged state after all passes, what the target told (a seed, or all of them) beside it; None where a scorer has neither."""
    seeds = len(tasks[0].seeds)
    told: list[State | None] = [None] * seeds if target is None else [target[i % len(target)] for i in range(seeds)]
    states = told
    for _ in range(scorer.passes):
        fitted: list[Sequence[State]] = []  # (shards, seeds)
        for of_shard in each(_fit, [task.with_states(states) for task in tasks]):
            fitted.append(of_shard)
            if isinstance(scorer, MergesEarly) and len(fitted) >= EARLY:
                fitted = [_merged(scorer, fitted)]
        states = [merged | (of_target or {}) for merged, of_target in zip(_merged(scorer, fitted), told, strict=True)]
        if isinstance(scorer, Iterates) and all(scorer.is_done(state) for state in states if state is not None):
            break
    return states


def _merged(scorer: Scorer, fitted: Sequence[Sequence[State]]) -> list[State]:
    """One state a seed."""
    return [scorer.merge(list(of_seed)) for of_seed in zip(*fitted, strict=True)]


def fit_target(scorer: ReadsTarget, tasks: Sequence[ShardTask], each: Each) -> list[State]:
    """What a scorer makes of the target, whose rows the tasks hold, under the names in its states; one a seed that it reads."""
    fitted = list(each(_fit_target, tasks))  # (shards, seeds)
    merged = [scorer.merge_target(list(of_seed)) for of_seed in zip(*fitted, strict=True)]
    return [{f"{TARGET}{key}": value for key, value in one.items()} for one in merged]


def write_shard(task: ShardTask) -> Entry:
    """Scores one shard and writes it whole; the caller enters it in the manifest."""
    columns = _borrowed(task) if task.borrowed is not None else _computed(task)
    table, failed = _table(task, columns)
    write_whole(task.path, lambda temporary: write_arrow(temporary, table))
    return entry_of(task.path, first=task.first, rows=table.num_rows, failed=failed)


def set_threads(threads: int | None) -> None:
    """As many threads as the job was started with: another number could round otherwise."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def content_hashes(data: Dataset, first: int, stop: int) -> NDArray[np.uint64]:
    """A hash of each row's input, (rows,) uint64, 0 where there is none; of texts after NFC and with single blanks."""
    import xxhash

    if data.modality not in ("text", "text_pair", "chat"):
        return data.select(np.arange(first, stop)).input_hashes
    sides = [data.texts(first, stop, side) for side in range(2 if data.modality == "text_pair" else 1)]
    plain = [" \x1f ".join(" ".join(normalize("NFC", text or "").split()) for text in row) for row in zip(*sides, strict=True)]
    return np.array(
        [xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) if text.strip(" \x1f") else 0 for text in plain], np.uint64
    )


def empty_texts(data: Dataset, step: int = 8192) -> dict[int, str]:
    """Rows without any text, (row → reason)."""
    spans = ((start, data.texts(start, min(start + step, len(data)))) for start in range(0, len(data), step))
    return {start + i: "empty_text" for start, texts in spans for i, text in enumerate(texts) if not (text or "").strip()}


def stability(store: Store, name: str, seeds: Sequence[int]) -> float:
    """Mean pairwise Spearman correlation of the seeds' scores, over rows that all of them scored."""
    from scipy.stats import rankdata

    columns = np.stack([store.column(name, f"score_seed{seed}") for seed in seeds])
    ranks = np.stack([rankdata(column) for column in columns[:, ~np.isnan(columns).any(axis=0)]])
    pairs = [float(np.corrcoef(ranks[i], ranks[j])[0, 1]) for i, j in combinations(range(len(seeds)), 2)]
    return round(float(np.mean(pairs)), 6) if np.isfinite(pairs).all() else 0.0


def _fit(task: ShardTask) -> list[State]:
    scorer = held.of(task)
    return [scorer.fit(shard, state) for shard, state in zip(task.shards(), task.states, strict=True)]


def _fit_target(task: ShardTask) -> list[State]:
    scorer = held.of(task)
    assert isinstance(scorer, ReadsTarget), "only such scorers are given a target"
    return [scorer.fit_target(shard) for shard in task.target_shards()]


def _computed(task: ShardTask) -> dict[str, NDArray[Any]]:
    return _score(task, task.shards())


def _score(task: ShardTask, shards: Sequence[Shard]) -> dict[str, NDArray[Any]]:
    scorer = held.of(task)
    states = task.states or (None,) * len(shards)
    parts: Sequence[Columns] = [scorer.score(shard, state) for shard, state in zip(shards, states, strict=True)]
    if isinstance(scorer, SharesSeeds):
        parts = scorer.across_seeds(parts)
    for part in parts:
        _check_columns(task, part, len(shards[0].rows))
    return join_seeds(parts, scorer.combine, task.seeds)


def _check_columns(task: ShardTask, part: Mapping[str, NDArray[Any]], n: int) -> None:
    """A third party's scorer must not write a store that nothing can read."""
    if "score" not in part:
        raise InputError(f'Scorer "{task.name}" gave the columns {", ".join(part) or "none"}; one called "score" is expected.')
    for name, column in part.items():
        if len(np.asarray(column)) != n:
            raise InputError(f'Scorer "{task.name}" gave {len(np.asarray(column))} values of "{name}" for {n} rows; one a row is expected.')
    if np.asarray(part["score"]).dtype != np.float32:
        raise InputError(f'Scorer "{task.name}" gave scores of type {np.asarray(part["score"]).dtype}; float32 is expected.')
    infinite = np.flatnonzero(np.isinf(part["score"]))
    if len(infinite):
        row = task.first + int(infinite[0])
        raise InputError(
            f'Scorer "{task.name}" gave an infinite score (first at row {row}). A score is finite, or NaN where there is none.'
        )


def _borrowed(task: ShardTask) -> dict[str, NDArray[Any]]:
    """Unchanged rows, known by their content hash, keep their columns; only the others are scored."""
    assert task.borrowed is not None, "called with a store to borrow from"
    old = Scores.open(task.borrowed)
    hashes = old.store.column(ROWS, "hash")
    order = np.argsort(hashes, kind="stable")
    wanted = task.data.row_hashes[task.first : task.stop]
    at = np.minimum(np.searchsorted(hashes, wanted, sorter=order), len(hashes) - 1)
    found = hashes[order[at]] == wanted
    source = order[at]
    full = task.shards()
    fresh = _score(task, [_subset(shard, np.flatnonzero(~found)) for shard in full]) if not found.all() else {}
    columns = {}
    for name in [*old.columns(task.name), *(["status"] if "status" in fresh else [])]:
        values = as_numpy(old.table(task.name).column(name).combine_chunks())[source]
        if name in fresh:
            values = np.where(values == None, "", values) if name == "status" else values  # noqa: E711  # elementwise, on objects
            values = values.astype(fresh[name].dtype)
            values[~found] = fresh[name]
        columns[name] = values
    return columns


def _subset(shard: Shard, index: NDArray[np.int64]) -> Shard:
    return Shard(shard.rows[index], {name: shard[name][index] for name in shard}, shard.seed)


def _table(task: ShardTask, columns: Mapping[str, NDArray[Any]]) -> tuple[pa.Table, dict[str, int]]:
    n = task.stop - task.first
    score = np.array(columns["score"], np.float32)
    status = np.full(n, None, object)
    said = np.asarray(columns.get("status", np.full(n, "")), object)
    without = np.isnan(score)
    silent = NOT_PRESENTED if task.swept is None else NO_GRADIENT
    status[without] = np.where(said[without] == "", silent, said[without])
    for row, why in task.failed.items():
        score[row - task.first] = np.nan
        status[row - task.first] = why
    arrays: dict[str, pa.Array] = {"row": pa.array(np.arange(task.first, task.stop))}
    if task.data.id is not None:
        arrays["id"] = task.data.column(task.data.id).slice(task.first, n).combine_chunks()
    arrays |= {"score": pa.array(score, from_pandas=True), "status": pa.array(status, pa.string())}
    arrays |= {name: _arrow(np.asarray(values)) for name, values in columns.items() if name not in ("score", "status")}
    reasons, counts = np.unique(status[status != None].astype(str), return_counts=True)  # noqa: E711  # elementwise, on objects
    return pa.table(arrays), {str(reason): int(count) for reason, count in zip(reasons, counts, strict=True)}


def _arrow(values: NDArray[Any]) -> pa.Array:
    return pa.array(values, pa.string()) if values.dtype.kind in "OUS" else as_arrow(values)


def of_data(data: Dataset, name: str, first: int, stop: int) -> NDArray[Any]:
    if name == "label":
        return data.labels[first:stop].copy()
    if name == SETS:
        member, known = data.label_sets.member[first:stop], data.label_sets.known[first:stop]
        return np.where(known[:, None], member, -1).astype(np.int8)
    if name == "embedding":
        return data.matrix(first, stop)
    if name == CONTENT:
        return content_hashes(data, first, stop)
    if name in ("question", "answer"):
        return np.array([pair[name == "answer"] for pair in data.exchanges(first, stop)], object)
    return np.array([text or "" for text in data.texts(first, stop)], object)


def _of_graph(path: Path, data: Dataset, name: str, first: int, stop: int) -> NDArray[Any]:
    """A column of the kept graph's nearest k: "neighbours@k" are rows, with ".label" their labels, with ".distance" how far they are."""
    from curate.index.graph import shared_graph

    of, _, k = name.partition("@")
    graph = shared_graph(Embeddings.open(path), int(k))
    rows, distance = graph.rows[first:stop], graph.distance[first:stop]
    if of == f"{NEIGHBOURS}.distance":
        return np.where(rows >= 0, distance, np.nan)  # a scorer meets no infinity
    return rows.astype(np.int64) if of == NEIGHBOURS else np.where(rows >= 0, data.labels[rows], -1)
