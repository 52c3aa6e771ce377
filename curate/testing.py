"""The conformance kit: what every scorer, sampler and distiller promises, checked on synthetic data; for our tests and other people's.

from curate.testing import check_scorer
def test_gini_keeps_its_promises():
    check_scorer(Gini)
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curate import plugins
from curate.pool import ArrayPool
from curate.protocols import (
    Array,
    Columns,
    Concludes,
    Distilled,
    Distiller,
    Iterates,
    MergesEarly,
    Opens,
    ReadsTarget,
    Sampler,
    Scorer,
    Shard,
    SharesSeeds,
    State,
)
from curate.rng import KeyedRandom
from curate.synthetic_signals import SIGNALS as SIGNALS
from curate.synthetic_signals import pool_column, signals_of

# Matrix products round differently for other numbers of rows; a real dependence on the cut is far larger.
_ROUNDING = 1e-5


def shard_of(columns: Mapping[str, ArrayLike], *, rows: ArrayLike | None = None, seed: int = 0) -> Shard:
    """A shard of these columns: floats become float32, `label` and `rows` int64; rows are 0 … n-1 unless given.

    >>> shard_of({"dynamics.loss": [[0.5, 0.25]]})["dynamics.loss"].dtype
    dtype('float32')
    """
    typed = {name: _typed(column) for name, column in columns.items()}
    if rows is None:
        rows = np.arange(len(next(iter(typed.values()))) if typed else 0)
    return Shard(np.asarray(rows, np.int64), typed, seed)


def check_scorer(scorer: Scorer | type[Any] | str, *, epochs: int = 12, n: int = 60) -> None:
    """AssertionError, in plain words, where a scorer breaks what every scorer promises.

    `scorer` is an instance, a class that builds without options, or what one writes after `--scorer`. It is settled for a run
    of `epochs` and meets `n` rows (3 or more) with the signals that it `requires`: row 0 was never seen, others missed up
    to a quarter of the epochs. Checked: one number a row, float32, never infinite, NaN only where nothing was seen;
    repeatable; the same however the rows were cut; options round-trip; signals are not written to; attributes and docstring.
    """
    built: Scorer = _built("scorers", scorer)
    name = type(built).__name__
    _check_attributes(built, name)
    settled = built.settle(epochs)
    assert type(settled) is type(built), f"{name}.settle must give another {name}, got {type(settled).__name__}."
    again = plugins.options_of(settled.settle(epochs))
    assert again == plugins.options_of(settled), f"{name}: settling twice changed {plugins.options_of(settled)} to {again}."

    columns = signals_of(settled.requires, epochs, n)
    whole = _score(settled, columns, [n])
    _check_columns(whole, columns, n, name)
    _check_untouched(columns, signals_of(settled.requires, epochs, n), name)
    _check_same(_score(settled, columns, [n]), whole, f"{name} gives other numbers when it runs again", rounding=0)
    for pieces in (3, 17):
        cut = _score(settled, columns, _ragged(n, pieces))
        _check_same(cut, whole, f"{name} gives other numbers when the rows are cut into {pieces} shards", rounding=_ROUNDING)
    rebuilt = type(settled)(**plugins.options_of(settled))
    _check_same(_score(rebuilt, columns, [n]), whole, f"{name} rebuilt from its own options gives other numbers", rounding=0)


def check_sampler(sampler: Sampler | type[Any] | str, *, n: int = 60) -> None:
    """AssertionError, in plain words, where a sampler breaks what every sampler promises.

    `sampler` is as for `check_scorer`. It chooses 1, a third and all of `n` rows (3 or more) from a pool with the columns that
    it `requires`. Checked: exactly k distinct indices into the pool, int64; k finite weights above 0, float64; equal draws
    for equal `rng`; the pool is not written to; options round-trip; docstring.
    """
    built: Sampler = _built("samplers", sampler)
    name = type(built).__name__
    _check_docstring(built, name)
    assert isinstance(built.version, int) and built.version >= 1, f"{name}.version must be a whole number from 1 on, got {built.version!r}."
    columns = {column: pool_column(column, n) for column in built.requires}
    pool = ArrayPool(columns, rows=3 * np.arange(n) + 5)  # positions in the source are not indices into the pool
    for k in sorted({1, max(n // 3, 1), n}):
        for seed in (0, 1):
            _check_draw(built, pool, k, seed, name)
    _check_untouched(columns, {column: pool_column(column, n) for column in built.requires}, name)


def check_distiller(distiller: Distiller | type[Any] | str, *, ipc: int = 2) -> None:
    """AssertionError, in plain words, where a distiller breaks what every distiller promises.

    `distiller` is as for `check_scorer`, with few iterations. It makes `ipc` images of each of three classes of 8 x 8 grey ones. Checked:
    `ipc` finite float32 images a class in the source's shape, int64 labels, soft labels that are probabilities; equal
    bytes when it runs again, in a new folder and in the one it left; settling twice changes nothing; the data are not written
    to; options round-trip; docstring.
    """
    built: Distiller = _built("distillers", distiller)
    name = type(built).__name__
    _check_docstring(built, name)
    assert built.version >= 1, f"{name}.version must be a whole number from 1 on, got {built.version!r}."
    with tempfile.TemporaryDirectory() as folder:
        data = plugins.part("distillers", "images").synthetic_images(Path(folder) / "one", whiten=built.whiten)
        before = data.images.clone()
        settled = built.settle(data, ipc, None)
        options = plugins.options_of(settled)
        assert plugins.options_of(settled.settle(data, ipc, None)) == options, f"{name}: settling twice changes the options."
        seconds, memory = settled.cost(data, ipc)
        assert seconds >= 0 and memory >= 0, f"{name}.cost must be 0 or more, got {seconds} s and {memory} bytes."
        made = settled.distill(data, ipc, KeyedRandom(0, "testing"))
        _check_distilled(made, data, ipc, name)
        assert bool((data.images == before).all()), f"{name} writes to the images that it is handed."
        resumed = settled.distill(data, ipc, KeyedRandom(0, "testing"))
        assert resumed.images.tobytes() == made.images.tobytes(), f"{name} gives other images when it runs again in the folder it left."
        elsewhere = plugins.part("distillers", "images").synthetic_images(Path(folder) / "two", whiten=built.whiten)
        again = type(settled)(**options).distill(elsewhere, ipc, KeyedRandom(0, "testing"))
        assert again.images.tobytes() == made.images.tobytes(), f"{name}, rebuilt from its own options, gives other images in a new folder."


def _check_distilled(made: Distilled, data: Any, ipc: int, name: str) -> None:
    if made.compact is not None:
        images, labels = made.compact.expand()
        assert made.compact.stored <= ipc * data.classes, f"{name} stores {made.compact.stored} images, more than {ipc} a class."
        assert np.array_equal(images, made.images) and np.array_equal(labels, made.labels), f"{name}'s compact form must give its images."
    count = ipc if made.compact is None else len(made.images) // data.classes
    shape = (count * data.classes, *data.images.shape[1:])
    assert made.images.dtype == np.float32 and made.images.shape == shape, f"{name} must give float32 images of shape {shape}."
    assert np.isfinite(made.images).all(), f"{name} gives images that are not finite."
    assert made.labels.dtype == np.int64, f"{name} must give int64 labels, got {made.labels.dtype}."
    assert np.bincount(made.labels, minlength=data.classes).tolist() == [count] * data.classes, f"{name} must give {count} images a class."
    if made.soft_labels is not None:
        sums = made.soft_labels.sum(1)
        right = made.soft_labels.shape == (len(made.images), data.classes) and np.allclose(sums, 1, atol=1e-4)
        assert right and (made.soft_labels >= 0).all(), f"{name}'s soft labels must be probabilities of every class, a row an image."


def _check_attributes(scorer: Scorer, name: str) -> None:
    _check_docstring(scorer, name)
    assert scorer.hard_sign in (-1, 0, 1), f"{name}.hard_sign must be -1, 0 or 1, got {scorer.hard_sign!r}."
    assert scorer.keep in ("high", "low", "middle"), f"{name}.keep must be high, low or middle, got {scorer.keep!r}."
    assert scorer.combine in ("mean", "sum"), f"{name}.combine must be mean or sum, got {scorer.combine!r}."
    assert scorer.passes >= 0, f"{name}.passes must be 0 or more, got {scorer.passes!r}."
    assert scorer.version >= 1, f"{name}.version must be 1 or more, got {scorer.version!r}."
    assert not isinstance(scorer.requires, str), f'{name}.requires must be a tuple of names; write ("{scorer.requires}",).'


def _check_docstring(method: object, name: str) -> None:
    text = vars(type(method)).get("__doc__") or ""
    assert text.strip(), f"{name} has no docstring; say what its result means, for `curate list` shows the first sentence."


def _check_columns(columns: Columns, signals: Mapping[str, Array], n: int, name: str) -> None:
    assert "score" in columns, f'{name} gives no column "score", only {", ".join(columns) or "none"}.'
    score = columns["score"]
    assert score.dtype == np.float32, f"{name}: score must be float32, got {score.dtype}."
    for column, values in columns.items():
        fits = values.shape == (n,) or (column != "score" and values.ndim == 2 and len(values) == n)
        assert fits, f"{name}: {column} must have one value a row (or, but for the score, one row), shape ({n},), got {values.shape}."
        assert values.dtype.kind in "biufU", f"{name}: {column} must hold numbers, booleans or text, got {values.dtype}."
        infinite = values.dtype.kind == "f" and np.isinf(values).any()
        assert not infinite, f"{name}: {column} is infinite in row {_first(np.isinf(values)) if infinite else 0}."
    wrong = np.isnan(score) & _seen(signals, n)
    assert not wrong.any(), f"{name}: row {_first(wrong)} was seen, but its score is NaN."


def _check_untouched(found: Mapping[str, Array], expected: Mapping[str, Array], name: str) -> None:
    for column, values in expected.items():
        assert _equal(found[column], values), f"{name} wrote into {column}; signals are shared, so copy before changing."


def _check_same(found: Columns, expected: Columns, what: str, *, rounding: float) -> None:
    assert set(found) == set(expected), f"{what}: columns {sorted(found)} instead of {sorted(expected)}."
    for column, values in expected.items():
        close = values.dtype.kind == "f" and np.allclose(found[column], values, rtol=rounding, atol=rounding, equal_nan=True)
        assert close or _equal(found[column], values), f"{what}: {column} differs."


def _check_draw(sampler: Sampler, pool: ArrayPool, k: int, seed: int, name: str) -> None:
    chosen, weights = sampler.select(pool, k, KeyedRandom(seed, "check"))
    what = f"{name} asked for {k} of {len(pool)} rows"
    assert chosen.shape == (k,), f"{what} gave {chosen.shape} of them."
    assert chosen.dtype == np.int64, f"{what}: indices must be int64, got {chosen.dtype}."
    assert ((chosen >= 0) & (chosen < len(pool))).all(), f"{what}: index outside 0 … {len(pool) - 1}; give indices into the pool, not rows."
    assert len(np.unique(chosen)) == k, f"{what} chose a row twice."
    assert weights.shape == (k,), f"{what}: weights must have shape ({k},), got {weights.shape}."
    assert weights.dtype == np.float64, f"{what}: weights must be float64, got {weights.dtype}."
    assert (np.isfinite(weights) & (weights > 0)).all(), f"{what}: every weight must be finite and above 0."

    rebuilt = type(sampler)(**plugins.options_of(sampler))
    for who, other in (("again", sampler), ("rebuilt from its options", rebuilt)):
        once_more, other_weights = other.select(pool, k, KeyedRandom(seed, "check"))
        same = np.array_equal(once_more, chosen) and np.array_equal(other_weights, weights)
        assert same, f"{what} {who}, with the same rng, chose otherwise."


def _built(room: plugins.Room, method: Any) -> Any:
    if isinstance(method, str):
        return plugins.parse(room, method).build()
    return method() if isinstance(method, type) else method


def _score(scorer: Scorer, columns: Mapping[str, Array], sizes: Sequence[int]) -> dict[str, Array]:
    """All stages of a scorer over shards of these sizes, as `curate score` runs them."""
    name = type(scorer).__name__
    own = {signal: values for signal, values in columns.items() if not signal.startswith("target.")}
    shards = _cut(own, sizes)
    target: State = {}
    if isinstance(scorer, Opens):
        scorer.open("cpu")
    if isinstance(scorer, ReadsTarget) and len(own) < len(columns):
        told = scorer.merge_target([scorer.fit_target(shard) for shard in _cut({n: v for n, v in columns.items() if n not in own}, sizes)])
        target = {f"target.{key}": value for key, value in told.items()}
        _check_state(target, name)
    state: State | None = target or None
    for _ in range(scorer.passes):
        fitted = [scorer.fit(shard, state) for shard in shards]
        state = scorer.merge([scorer.merge(fitted[:2]), *fitted[2:]] if isinstance(scorer, MergesEarly) else fitted) | target
        _check_state(state, name)
        if isinstance(scorer, Iterates) and scorer.is_done(state):
            break
    if isinstance(scorer, Concludes):
        _check_facts(scorer.conclude(state or {}), name)
    parts = [scorer.score(shard, state) for shard in shards]
    if isinstance(scorer, SharesSeeds):
        parts = [scorer.across_seeds([part])[0] for part in parts]
    if isinstance(scorer, Opens):
        scorer.close()
    return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}


def _cut(columns: Mapping[str, Array], sizes: Sequence[int]) -> list[Shard]:
    spans = [(end - size, end) for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True)]
    return [Shard(np.arange(first, stop), {name: values[first:stop] for name, values in columns.items()}) for first, stop in spans]


def _check_facts(facts: Mapping[str, float | int | str], name: str) -> None:
    for key, value in facts.items():
        plain = isinstance(value, int | str) or (isinstance(value, float) and np.isfinite(value))
        assert plain, f'{name}: fact "{key}" must be a finite float, an int or a str (it is written as JSON), got {value!r}.'


def _check_state(state: State, name: str) -> None:
    for key, value in state.items():
        plain = isinstance(value, np.ndarray) and value.dtype != object
        assert plain, (
            f'{name}: state "{key}" must be a numpy array of numbers or text (it is saved without pickle), got {type(value).__name__}.'
        )


def _ragged(n: int, pieces: int) -> list[int]:
    """Sizes of `pieces` shards of uneven length, the first of one row."""
    ends = np.unique(np.concatenate([[0, 1], np.linspace(1, n**0.5, pieces) ** 2, [n]]).astype(np.int64))
    return [int(size) for size in np.diff(ends)]


def _seen(signals: Mapping[str, Array], n: int) -> NDArray[np.bool_]:
    """Rows of which at least one floating-point signal tells something; all of them where there is no such signal."""
    told = {name: np.where(v < 0, np.nan, v) if name.startswith("neighbours") else v for name, v in signals.items()}  # -1: nobody
    floats = [values.reshape(n, -1) for values in told.values() if values.dtype.kind == "f"]
    seen: NDArray[np.bool_] = ~np.isnan(np.concatenate(floats, axis=1)).all(axis=1) if floats else np.ones(n, np.bool_)
    return seen


def _typed(column: ArrayLike) -> Array:
    values = np.asarray(column)
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    return values.astype(np.int64) if values.dtype.kind in "iu" else values


def _equal(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=b.dtype.kind == "f")


def _first(mask: NDArray[np.bool_]) -> int:
    return int(mask.argmax())
