"""`curate select`: rows under a budget, by a sampler from scores, by a filter, or both."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.budget import Balance, parse_budget, per_class
from curate.candidates import COLUMN_PREFIX, Candidates, ScoreFile
from curate.data import Dataset
from curate.embeddings import Embeddings
from curate.errors import ColumnError, InputError, OptionError, UsageError
from curate.expressions import Expression
from curate.index.kept import keeping
from curate.index.vectors import finite_rows
from curate.loading import load
from curate.plugins import Plugin, methods, options_of, parse
from curate.pool import ArrayPool
from curate.progress import Progress, Silent
from curate.protocols import Keep, Sampler, Sign
from curate.rng import KeyedRandom
from curate.scores import Scores, describe_dataset
from curate.selection import Selection
from curate.stages import contamination, narrowing, selection_report
from curate.stages.exporting import write_folder
from curate.store import writing

BLOCK = 1 << 20  # rows looked through at a time


@dataclass(frozen=True)
class Request:
    """What was asked for; the manifest's `job` is made from it."""

    sampler: str | Sampler | None = None
    by: str | None = None
    keep: Keep | None = None
    budget: str | int | float | None = None
    where: str | None = None
    within: Selection | str | Path | None = None
    per_class: bool | str = False
    nan: str | None = None
    seed: int = 0
    embeddings: Embeddings | None = None
    narrow: str | float | None = None
    narrow_with: str = "top"


def select(
    data: Any,
    scores: Scores | str | Path | None = None,
    *,
    embeddings: Embeddings | str | Path | None = None,
    sampler: str | Sampler | None = None,
    by: str | None = None,
    keep: Keep | None = None,
    budget: str | int | float | None = None,
    where: str | None = None,
    within: Selection | str | Path | None = None,
    per_class: bool | str = False,
    narrow: str | float | None = None,
    narrow_with: str = "top",
    nan: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    rows_only: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Selection:
    """Chooses rows of `data` (whatever `curate.load` takes) and, where `out` is given, writes the hub-ready folder.

    `scores` is a store, or a parquet or csv file with `row` or the id column. `by` is a score, `SCORER.COLUMN`, `column:NAME`, or an
    expression such as `0.7*rank(el2n)+0.3*rank(aum)`; `keep` the end of it that is kept, by default the scorer's own. `budget` is "30%"
    (of all rows of the source), 0.3, "5000" or 5000. `where` leaves rows out first; without a sampler it is all there is. `embeddings` is
    a store that `curate.embed` made, for samplers that choose by where rows lie; data that are vectors or tables need none. With
    embeddings the report says how well the kept rows stand for all, beside as many at random. `narrow`, "50%", lets only that share of
    the candidates through to the sampler, those of the best `by`; `narrow_with="gumbel"` draws them, better ones likelier. `within`
    narrows another selection. `per_class` (True or "proportional", or "equal") shares the budget among classes and samples in each. Rows
    that could not be scored are left out and counted; gaps in columns from elsewhere are an error unless `nan` is "drop" or "last"
    ("error" makes both an error).

    Raises before any work: UsageError for what does not go together, OptionError for a budget that cannot be had.
    """
    progress = progress or Silent()
    data = load(data)
    vectors = Embeddings.of(embeddings, data)
    request = Request(sampler, by, keep, budget, where, within, per_class, nan, seed, vectors, narrow, narrow_with)
    columns = candidates_of(data, scores)
    chosen = replace(choose(prepare(data, columns, request, progress), data, columns, request), command=command)
    if out is None:
        return chosen
    folder = Path(out)
    with writing(folder, overwrite=overwrite):
        write_folder(chosen, folder, progress, rows_only=rows_only)
    return replace(chosen, path=folder)


def everything(data: Dataset) -> Selection:
    """The selection of all rows, in row order."""
    rows, weights = np.arange(len(data)), np.ones(len(data))
    job = _job(Request(None, None, None, None, None, None, False, None, 0), None, None, None, {})
    report = selection_report.report(data, rows, weights, None, len(data), 0, 0)
    return Selection(_table(data, rows, weights), describe_dataset(data), job, report, data=data)


def candidates_of(data: Dataset, scores: Scores | str | Path | None) -> Candidates:
    if scores is None:
        return Candidates(data, None, None)
    if not isinstance(scores, Scores) and not Path(scores).is_dir():
        return Candidates(data, None, ScoreFile(scores, data))
    opened = scores if isinstance(scores, Scores) else Scores.open(scores)
    opened.require_dataset(data)
    return Candidates(data, opened, None)


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that is settled before a sampler is asked: nothing that follows fails for what was asked."""

    plugin: Plugin | None
    sampler: Sampler | None
    keep: Keep
    used: dict[str, Any]
    columns: dict[str, NDArray[Any]]  # over all rows of the source
    pool: ArrayPool
    last: NDArray[np.int64]  # what comes behind all that the sampler picks
    k: int
    dropped: int
    nowhere: int
    needed: int | None

    @property
    def take(self) -> int:
        """How many the sampler is asked for."""
        return min(self.k, len(self.pool))


def prepare(data: Dataset, columns: Candidates, request: Request, progress: Progress) -> Prepared:
    """Checks a request as far as can be without choosing; DoesNotFitError where the sampler would need more memory than there is."""
    plugin, sampler = _sampler(request)
    by = _by(request, plugin, sampler, columns)
    where = Expression(request.where, kind="condition") if request.where else None
    keep, sign = _direction(request, sampler, by, columns)
    k = parse_budget(request.budget, len(data)) if request.budget is not None else None
    used = _used_scores(sampler, by, where, columns)
    if columns.scores is not None:
        columns.scores.store.require_whole(used)
    rows = _narrowed(data, request, where, columns)
    pool_columns = _pool_columns(plugin, sampler, by, columns, data, request)
    rows, nowhere = _with_vectors(rows, pool_columns, request, progress)
    rows, last, dropped = _without_gaps(rows, pool_columns, by, columns, request, progress)
    k = _feasible(k, len(rows) + len(last), sampler)
    whole = len(rows) == len(data)
    pool = (ArrayPool if whole else ArrayPool.among)(pool_columns, rows=rows, keep=keep, hard_sign=sign)
    ready = Prepared(plugin, sampler, keep, used, pool_columns, pool, last, k, dropped, nowhere, None)
    return replace(ready, needed=_fits(ready, data, request))


def choose(ready: Prepared, data: Dataset, columns: Candidates, request: Request) -> Selection:
    sampler, rows, take = ready.sampler, ready.pool.rows, ready.take
    rng = KeyedRandom(request.seed, ready.plugin.method if ready.plugin else "filter")
    if sampler is None:
        picked, weights = rows[:take], np.ones(take)
    else:
        with keeping(request.embeddings.kept if request.embeddings is not None else None) as keeper:
            picked, weights = _sample(sampler, ready.pool, take, rng, data, request)
        picked = picked if len(rows) == len(data) else rows[picked]
    if take < ready.k:
        picked = np.concatenate((picked, ready.last[: ready.k - take]))
        weights = np.concatenate((weights, np.ones(ready.k - take)))
    job = _job(request, ready.plugin, sampler, ready.keep if sampler and "score" in sampler.requires else None, ready.used)
    candidates = len(rows) if sampler is not None else len(data)  # a filter has chosen among all rows
    report = selection_report.report(data, picked, weights, ready.columns.get("score"), candidates, ready.dropped, request.seed)
    if ready.nowhere:
        report["without_vector"] = ready.nowhere
    notes = selection_report.remarks(sampler, ready.pool) + keeper.notes if sampler is not None else []
    if notes:
        report["notes"] = notes
    if ready.needed is not None:
        report["memory_needed"] = ready.needed
    leaked = contamination.found(columns.scores, picked)
    if leaked:
        report["contamination"] = leaked
    vectors = ready.columns.get("embedding")
    if vectors is None and request.embeddings is not None:
        vectors = request.embeddings.matrix
    if vectors is not None:
        report["coverage"] = selection_report.coverage(
            vectors, picked, rows if sampler is not None else np.arange(len(data)), weights, request.seed
        )
    return Selection(_table(data, picked, weights), describe_dataset(data), job, report, data=data)


def _sampler(request: Request) -> tuple[Plugin | None, Sampler | None]:
    if request.sampler is None:
        if request.budget is not None or request.by is not None:
            raise UsageError(
                "--budget and --by need a sampler: --sampler top (highest or lowest first), ccs, random, …; `curate list samplers`."
            )
        if request.where is None and request.within is None:
            raise UsageError("Nothing chooses rows. Name a --sampler with a --budget, or a filter with --where.")
        return None, None
    plugin = parse("samplers", request.sampler) if isinstance(request.sampler, str) else Plugin.of("samplers", request.sampler)
    if request.budget is None:
        raise UsageError(f'Sampler "{plugin.name}" needs a --budget, such as --budget 30% or --budget 5000.')
    if request.narrow is None:
        return plugin, plugin.build()
    return plugin, narrowing.narrowed(plugin.build(), request.narrow, request.narrow_with)


def _by(request: Request, plugin: Plugin | None, sampler: Sampler | None, columns: Candidates) -> str | None:
    if plugin is None or sampler is None:
        return None
    if "score" not in sampler.requires:
        odd = "--by" if request.by is not None else "--keep" if request.keep is not None else None
        if odd:
            reads = ", ".join(sampler.requires) or "no column"
            raise UsageError(
                f'Sampler "{plugin.name}" reads {reads}, not a score of your choice. Leave out {odd}, '
                "or let only the best rows by it through to the sampler: --narrow 50%."
            )
        return None
    if request.by is not None:
        return request.by
    named = [name for name in (columns.scores.names if columns.scores else []) if name != "random"]
    if len(named) == 1:
        return named[0]
    known = ", ".join(named) or "none: name a store with --scores DIR"
    raise UsageError(f'Sampler "{plugin.name}" ranks rows by a score: add --by SCORER. Scores at hand: {known}.')


def _direction(request: Request, sampler: Sampler | None, by: str | None, columns: Candidates) -> tuple[Keep, Sign]:
    """Which end of the score to keep and which is hard. A combination by rank is hard at 1; of other columns nobody knows."""
    if request.keep not in (None, "high", "low", "middle"):
        raise OptionError(f'keep must be high, low or middle; got "{request.keep}".')
    if by is None:
        return request.keep or "high", 1
    name = by if by.startswith(COLUMN_PREFIX) else Expression(by).plain_name
    if name is not None:
        keep, sign = request.keep or columns.keep(name), columns.hard_sign(name)
    else:
        expression = Expression(by)
        keep, sign = request.keep, 1 if expression.ranked and expression.ranked == expression.names else 0
    if keep is None and sampler is not None and "score" in sampler.requires:
        _score(by, columns)  # a name that is nowhere is what is wrong, not the missing end of it
        raise UsageError(f'Which end of "{by}" is to be kept? Add --keep high, --keep low or --keep middle.')
    return keep or "high", sign


def _fits(ready: Prepared, data: Dataset, request: Request) -> int | None:
    """The bytes that the sampler will need, where it says so; refused here where they are more than there are."""
    if ready.plugin is None or ready.sampler is None:
        return None
    d = ready.columns["embedding"].shape[1] if "embedding" in ready.columns else 0
    for n, k in turns(ready, data, request):
        if isinstance(ready.sampler, narrowing.Narrowed):
            ready.sampler.require_room(n, k)
    needed = [narrowing.memory_needed(ready.sampler, n, d, k) for n, k in turns(ready, data, request)]
    most = max((one for one in needed if one is not None), default=None)
    narrowing.require_memory(ready.plugin.name, most, len(ready.pool), d, ready.take)
    return most


def turns(ready: Prepared, data: Dataset, request: Request) -> list[tuple[int, int]]:
    """How many candidates and how many to pick, for each time that the sampler is asked: once, or once a class."""
    if not request.per_class:
        return [(len(ready.pool), ready.take)]
    labels = data.labels[ready.pool.rows]
    sizes = dict(zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True))
    return [(sizes[code], share) for code, share in per_class(labels, ready.take, _balance(request)).items() if share]


def _narrowed(data: Dataset, request: Request, where: Expression | None, columns: Candidates) -> NDArray[np.int64]:
    rows = np.arange(len(data))
    if request.within is not None:
        outer = request.within if isinstance(request.within, Selection) else Selection.open(request.within)
        outer.require_dataset(data)
        rows = outer.rows
    if where is not None:
        mask = where.evaluate(columns, columns.hard_sign)
        rows = rows[mask[rows]]
    if not len(rows):
        raise InputError(
            f"No row is left after --where {request.where!r}{' and --within' if request.within else ''}. Loosen the condition."
        )
    return rows


def _pool_columns(
    plugin: Plugin | None, sampler: Sampler | None, by: str | None, columns: Candidates, data: Dataset, request: Request
) -> dict[str, NDArray[Any]]:
    """The columns that the sampler reads, over all rows of the source."""
    found: dict[str, NDArray[Any]] = {}
    for name in sampler.requires if sampler is not None else ():
        if name == "score":
            assert by is not None, "a sampler that reads a score has been given one"
            found[name] = _score(by, columns)
            if found[name].ndim != 1:
                raise ColumnError(
                    f'--by "{by}" holds {found[name].shape[1]} numbers a row, and one is expected. '
                    f'Name another column, such as "{by.partition(".")[0]}", the score.'
                )
            if found[name].dtype.kind not in "fiub":
                raise OptionError(f'--by "{by}" holds words, not numbers. Name a score or a column of numbers.')
        elif name == "label":
            found[name] = data.labels
        elif name == "embedding":
            found[name] = _vectors(request, data)
        else:
            _require_scored(plugin, name, columns)
            found[name] = columns(name.removesuffix(".score"))
    return found


def _require_scored(plugin: Plugin | None, name: str, columns: Candidates) -> None:
    """UsageError that says how it is made, where a sampler reads a scorer's column and no scorer of that name is at hand."""
    scorer = name.partition(".")[0]
    if scorer not in {known.partition(".")[0] for known in columns.known()} and scorer in methods("scorers"):
        raise UsageError(
            f'Sampler "{plugin.name if plugin else ""}" reads "{name}", which is not there. '
            f"Make it, `curate score DATA --scorer {scorer} --out scores`, then add --scores scores."
        )


def _vectors(request: Request, data: Dataset) -> NDArray[Any]:
    """The vectors of all rows, (n, d): of the store that was named, or the data themselves."""
    if request.embeddings is not None:
        return request.embeddings.matrix
    if data.modality in ("embedding", "table"):
        return data.matrix(0, len(data))
    raise UsageError(
        f'The sampler chooses by where rows lie, and "{data.source}" is {data.modality} data. '
        "Embed it first: `curate embed DATA --out embeddings`, then add --embeddings embeddings."
    )


def _score(by: str, columns: Candidates) -> NDArray[Any]:
    """A column as it lies, memory-mapped where it can be; an expression in float64."""
    if by.startswith(COLUMN_PREFIX):
        return columns(by)
    expression = Expression(by, kind="number")
    return columns(expression.plain_name) if expression.plain_name else expression.evaluate(columns, columns.hard_sign)


def _with_vectors(
    rows: NDArray[np.int64], pool: Mapping[str, NDArray[Any]], request: Request, progress: Progress
) -> tuple[NDArray[np.int64], int]:
    """The rows that lie somewhere, where the sampler reads vectors; and how many have no vector, or one that is not finite."""
    vectors = pool.get("embedding")
    if vectors is None or vectors.dtype.kind != "f":
        return rows, 0
    known = finite_rows(vectors)[rows]
    count = int(np.count_nonzero(~known))
    if count == len(rows):
        mend = "`curate show` says why the store has none" if request.embeddings is not None else "Name other vectors with --input"
        raise InputError(
            f"None of the {len(rows):,} candidates has a vector of finite numbers, and the sampler chooses by where they lie. {mend}."
        )
    if count:
        why = "`curate show` says why" if request.embeddings is not None else "theirs are missing, NaN or infinite"
        progress.note(f"{count:,} {_rows(count)} without a vector left out: {why}.")
    return rows[known], count


def _without_gaps(
    rows: NDArray[np.int64], pool: Mapping[str, NDArray[Any]], by: str | None, columns: Candidates, request: Request, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The rows with all numbers there; those that go last; how many were left out."""
    if request.nan not in (None, "drop", "last", "error"):
        raise OptionError(f'nan must be drop, last or error; got "{request.nan}".')
    gap = np.zeros(len(rows), bool)
    names = []
    for name, values in pool.items():
        if values.dtype.kind == "f" and name != "embedding":
            names.append(by if by is not None and name == "score" else name)
            gap |= _missing(values, rows)
    count = int(gap.sum())
    if not count:
        return rows, np.empty(0, np.int64), 0
    named = ", ".join(names)
    if count == len(rows):
        raise InputError(f'None of the {len(rows):,} candidates has "{named}". Choose by another score, or make this one first.')
    own = all(columns.is_score(part) for name in names for part in ([name] if name.startswith(COLUMN_PREFIX) else Expression(name).names))
    policy = request.nan or ("drop" if own else "error")
    if policy == "error":
        raise InputError(
            f'{count:,} of {len(rows):,} rows have no "{named}". Leave them out with --nan drop, or put them last with --nan last.'
        )
    if policy == "last":
        return rows[~gap], rows[gap], 0
    progress.note(f"{count:,} {_rows(count)} without a score left out{': `curate show` says why' if own else ''}.")
    return rows[~gap], np.empty(0, np.int64), count


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _missing(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the rows have NaN somewhere, (rows,); looked at in blocks, since a column may be more than memory holds."""
    found = np.empty(len(rows), bool)
    step = max(1, BLOCK // max(1, values[:1].size))
    for start in range(0, len(rows), step):
        part = np.isnan(values[start : start + step] if len(rows) == len(values) else values[rows[start : start + step]])
        found[start : start + step] = part if part.ndim == 1 else part.any(axis=1)
    return found


def _feasible(k: int | None, candidates: int, sampler: Sampler | None) -> int:
    if k is None:
        return candidates
    if k > candidates:
        raise OptionError(
            f"The budget is {k:,} rows, but {candidates:,} are left to choose from. Ask for at most {candidates:,}, or loosen the filters."
        )
    return k


def _sample(
    sampler: Sampler, pool: ArrayPool, k: int, rng: KeyedRandom, data: Dataset, request: Request
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if not request.per_class:
        return sampler.select(pool, k, rng)
    labels = data.labels[pool.rows]
    picked, weights, positions = [], [], []
    for code, share in per_class(labels, k, _balance(request)).items():
        members = np.flatnonzero(labels == code)
        if share:
            index, weight = sampler.select(pool.subset(members), share, rng.child("class", int(code)))
            picked.append(members[index])
            weights.append(weight)
            positions.append(np.arange(share) / share)  # classes take turns, each at its own pace
    order = np.argsort(np.concatenate(positions), kind="stable")
    return np.concatenate(picked)[order], np.concatenate(weights)[order]


def _balance(request: Request) -> Balance:
    balance = "proportional" if request.per_class is True else request.per_class
    if balance not in get_args(Balance):
        raise OptionError(f'per_class must be proportional or equal; got "{balance}".')
    return cast("Balance", balance)


def _used_scores(sampler: Sampler | None, by: str | None, where: Expression | None, columns: Candidates) -> dict[str, Any]:
    names = set(where.names if where else ()) | {
        name for name in (sampler.requires if sampler else ()) if name not in ("score", "label", "embedding")
    }
    if by is not None and not by.startswith(COLUMN_PREFIX):
        names |= Expression(by).names
    scorers = sorted({name.partition(".")[0] for name in names})
    scores = columns.scores
    return {name: scores.about(name) for name in scorers if scores is not None and name in scores.names}


def _job(request: Request, plugin: Plugin | None, sampler: Sampler | None, keep: str | None, used: Mapping[str, Any]) -> dict[str, Any]:
    within = request.within if isinstance(request.within, Selection) or request.within is None else Selection.open(request.within)
    sampler = sampler.then if isinstance(sampler, narrowing.Narrowed) else sampler
    return {
        "sampler": plugin.method if plugin else None,
        "sampler_options": options_of(sampler) if sampler is not None else {},
        "sampler_version": sampler.version if sampler is not None else None,
        "by": request.by,
        "keep": keep,
        "budget": None if request.budget is None else str(request.budget),
        "where": request.where,
        "within": len(within) if within is not None else None,
        "within_rows": _digest(within.rows) if within is not None else None,
        "per_class": request.per_class,
        "nan": request.nan,
        "seed": request.seed,
        "scores": used,
    } | (
        ({"embeddings": request.embeddings.about()} if request.embeddings is not None else {})
        | ({"narrow": str(request.narrow), "narrow_with": request.narrow_with} if request.narrow is not None else {})
    )


def _digest(rows: NDArray[np.int64]) -> str:
    import xxhash

    return str(xxhash.xxh3_64_hexdigest(rows.tobytes()))


def _table(data: Dataset, picked: NDArray[np.int64], weights: NDArray[np.float64]) -> pa.Table:
    order, rows = np.arange(len(picked)), picked
    if not (picked[1:] > picked[:-1]).all():
        order = np.argsort(picked, kind="stable")
        rows, weights = picked[order], weights[order]
    columns = {"row": pa.array(rows), "order": pa.array(order), "weight": pa.array(weights)}
    if data.id is not None:
        columns["id"] = data.column(data.id).take(pa.array(rows)).combine_chunks()
    return pa.table(columns)
