"""`curate export`, and the folder that `curate select` writes: hub-ready parquet with its card, or another format."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from curate.cards import selection_card
from curate.data import Dataset
from curate.decisions import apply, read_decisions
from curate.disk import TEMPORARY, plain_os_errors
from curate.errors import InputError, OptionError, OtherJobError, UsageError, did_you_mean
from curate.fingerprint import read_image_file
from curate.image_tables import table_of
from curate.progress import Progress, Silent
from curate.reading import quiet
from curate.scores import Scores
from curate.selection import CARD, DATA, FILE, HERE, Selection
from curate.stages.contamination import found
from curate.stages.worth import initial_seeds
from curate.store import MANIFEST, Store, differences, writing
from curate.synthetic import FILE as FILE_OF_SET
from curate.synthetic import GRID, TRANSFORM, Synthetic
from curate.synthetic import KIND as SYNTHETIC

if TYPE_CHECKING:
    import datasets

Format = Literal["parquet", "arrow", "jsonl", "ids"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
FILE_BYTES: Final = 256 << 20
IDS: Final = "ids.txt"
LINES: Final = "train.jsonl"
STATE: Final = "state.json"
CARD_FILES: Final = {"parquet": "data/train-*.parquet", "arrow": "data-*.arrow", "jsonl": LINES}

Columns = Mapping[str, pa.Array]


def export(
    selection: Selection | str | Path | None,
    *,
    out: str | Path,
    format: str = "parquet",
    data: Dataset | None = None,
    scores: Scores | str | Path | None = None,
    decisions: str | Path | None = None,
    push_to_hub: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a selection's rows, a distilled set's, or all of `data` where `selection` is None, to the folder `out` and returns it.

    `parquet` is a hub-ready folder (data/, card, selection.arrow), `arrow` a `save_to_disk` folder, `jsonl` one JSON object a line,
    `ids` the user's ids or row numbers one a line. `data` is the source, needed where the selection was written with rows only.
    `scores` adds that store's scores as columns `score.NAME`. `decisions` is the review.csv of a report's page: rows to drop and labels to
    put right, checked against `data`, which is needed for it. `push_to_hub="org/name"` uploads a parquet folder afterwards.
    A distilled set that is stored as compensators is expanded. OptionError for an unknown format or columns that it cannot hold.
    """
    progress = progress or Silent()
    folder = Path(out)
    if format not in FORMATS:
        raise OptionError(f'No format "{format}".{did_you_mean(format, FORMATS)} There are: {", ".join(FORMATS)}.')
    if push_to_hub and (format != "parquet" or push_to_hub.count("/") != 1):
        raise OptionError(f'--push-to-hub takes ORG/NAME and uploads parquet; got "{push_to_hub}" with --format {format}.')
    if isinstance(selection, str | Path) and _is_distilled(selection):
        if data is not None or scores is not None or decisions is not None:
            raise UsageError(
                f'"{selection}" is a distilled set, which has no source rows: leave out --data, --with-scores and --decisions.'
            )
        _export_set(Synthetic.open(selection), folder, format, overwrite=overwrite)
        if push_to_hub:
            push(folder, push_to_hub)
        return folder
    chosen = _chosen(selection, data)
    if chosen.path is not None and folder.resolve() == chosen.path.resolve():
        raise OptionError(f'--out is the selection\'s own folder "{folder}". Name another.')
    if data is not None:
        chosen.require_dataset(data)
        chosen = replace(chosen, data=data)
    if decisions is not None:
        if chosen.data is None:
            raise UsageError("Decisions are checked against the source: name it with --data DATA.")
        chosen = apply(read_decisions(decisions, chosen.data), chosen)
    columns: Columns = {}
    if scores is not None:
        opened = scores if isinstance(scores, Scores) else Scores.open(scores)
        columns = _score_columns(opened, chosen)
        chosen = replace(chosen, report={**chosen.report, "contamination": found(opened, chosen.rows)})
    if format != "ids":
        _refuse_unwritable(chosen.dataset(), format)
    with writing(folder, overwrite=overwrite):
        write_folder(chosen, folder, progress, columns=columns, format=format)
    if push_to_hub:
        push(folder, push_to_hub)
    return folder


def _is_distilled(path: str | Path) -> bool:
    return (Path(path) / MANIFEST).is_file() and Store.open(path).kind == SYNTHETIC


def _export_set(made: Synthetic, folder: Path, format: str, *, overwrite: bool) -> None:
    """The rows of a distilled set, float32 arrays as they are; in parquet with its card, its transform and its pictures."""
    if format == "ids":
        raise OptionError("A distilled set's images are of no row, so there are no ids. Use --format parquet, arrow or jsonl.")
    if folder.resolve() == made.path.resolve():
        raise OptionError(f'--out is the set\'s own folder "{folder}". Name another.')
    job = {"format": format, "set": made.store.job}
    with writing(folder, overwrite=overwrite):
        store = _opened(folder, "rows", made.store.dataset, job)
        for table in (HERE, *([DATA] if format == "parquet" else [])):
            store.describe(table, {})
        done = {entry.file for table in store.tables for entry in store.files(table)}
        if format == "parquet":
            for name in {TRANSFORM, GRID} - done:
                store.add_file(HERE, name, partial(shutil.copy, made.path / name))
            if CARD not in done:
                asked = SimpleNamespace(**made.store.job)
                card = made.card(initial_seeds(asked), expanded=True)
                store.add_file(HERE, CARD, lambda path: path.write_text(card, encoding="utf-8"))
            if FILE_OF_SET not in done:
                table = table_of(made.read(), made.names)
                store.add_file(DATA, FILE_OF_SET, lambda path: pq.write_table(table, str(path)))
        elif format == "jsonl" and LINES not in done:
            store.add_file(HERE, LINES, lambda path: _write_lines(path, _json_lines(made.dataset(), {})))
        elif format == "arrow" and STATE not in done:
            _save_to_disk(store, made.dataset().with_format(None), {})


def _chosen(selection: Selection | str | Path | None, data: Dataset | None) -> Selection:
    if selection is not None:
        return selection if isinstance(selection, Selection) else Selection.open(selection)
    if data is None:
        raise UsageError("Nothing is named to export: give a selection's folder, or --data DATA for all of its rows.")
    from curate.stages.selecting import everything

    return everything(data)


def write_folder(
    chosen: Selection,
    folder: Path,
    progress: Progress,
    *,
    columns: Columns | None = None,
    rows_only: bool = False,
    format: str = "parquet",
) -> None:
    """The selection's folder, file by whole file; a folder of the same job is completed, any other refused. The caller holds the lock."""
    digests = {name: xxhash.xxh3_64_hexdigest(np.asarray(values).tobytes()) for name, values in (columns or {}).items()}
    job = {**chosen.job, "score_columns": digests, "rows_only": rows_only, "format": format}
    store = _opened(folder, "selection", chosen.dataset_about, json.loads(json.dumps(job)))
    store.describe(HERE, {"report": chosen.report})
    done = {entry.file for entry in store.files(HERE)}
    if FILE not in done:
        store.add_shard(HERE, FILE, chosen.table)
        store.conclude(HERE, {"command": chosen.command})
    if CARD not in done:
        text = _card(chosen, format)
        store.add_file(HERE, CARD, lambda path: path.write_text(text, encoding="utf-8"))
    if format != "parquet":
        _write_files(store, chosen, format, columns or {})
    elif not rows_only:
        _write_data(store, chosen, progress, columns or {})


def push(folder: Path, repository: str) -> str:
    """Uploads a hub-ready folder as a private dataset; the token is the hub library's own (`hf auth login` or HF_TOKEN)."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", exist_ok=True, private=True)
        api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=str(folder), ignore_patterns=[".lock", "*.tmp"])
    except (HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f'Could not push to "{repository}": {first} The folder "{folder}" is whole; '
            "log in with `hf auth login` or set HF_TOKEN, then run the same command again."
        ) from error
    return f"https://huggingface.co/datasets/{repository}"


def _opened(folder: Path, kind: str, dataset: Mapping[str, Any], job: Mapping[str, Any]) -> Store:
    if not (folder / MANIFEST).is_file():
        return Store.create(folder, kind, dataset=dataset, job=job, settled={})
    store = Store.open(folder)
    if store.kind != kind or store.dataset["fingerprint"] != dataset["fingerprint"]:
        raise OtherJobError(f'"{folder}" holds {store.kind} of another dataset or kind. Use another --out, or --overwrite.')
    if store.job != job:
        raise OtherJobError(f'"{folder}" holds another {kind} ({differences(store.job, job)}). Use another --out, or --overwrite.')
    store.drop_damaged()
    return store


def _card(chosen: Selection, format: str) -> str:
    about = {**chosen.job, "command": chosen.command}
    return selection_card(about, chosen.dataset_about, chosen.report, files=CARD_FILES.get(format))


def _write_data(store: Store, chosen: Selection, progress: Progress, columns: Columns) -> None:
    rows = chosen.dataset()
    root = None if chosen.data is None else chosen.data.image_root
    ranges = _file_ranges(rows)
    store.describe(DATA, {"files": len(ranges)})
    done = {entry.file for entry in store.files(DATA)}
    with progress.task("write data", len(rows)) as task:
        for index, (first, stop) in enumerate(ranges):
            name = f"train-{index:05d}-of-{len(ranges):05d}.parquet"
            if name not in done:
                table = _with_columns(_plain_table(rows, first, stop, root), columns, first, stop)
                store.add_file(DATA, name, lambda path, table=table: pq.write_table(table, str(path)))  # type: ignore[misc]
            task.advance(stop - first)


def _score_columns(opened: Scores, chosen: Selection) -> dict[str, pa.Array]:
    """Every score's own column at the selected rows."""
    if opened.store.dataset["fingerprint"] != chosen.dataset_about["fingerprint"]:
        raise InputError(f'Scores "{opened.path}" are of another dataset than the selection. Pass the store that it was made with.')
    return {f"score.{name}": pa.array(opened[name][chosen.rows], from_pandas=True) for name in opened.names}


def _refuse_unwritable(rows: "datasets.Dataset", format: str) -> None:
    import datasets

    images = [name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    if format == "jsonl" and images:
        raise OptionError(f'Column "{images[0]}" holds images, which jsonl cannot. Use --format parquet or arrow.')


def _write_files(store: Store, chosen: Selection, format: str, columns: Columns) -> None:
    """The rows in a format other than parquet, each file whole before the manifest names it."""
    done = {entry.file for entry in store.files(HERE)}
    if format == "ids" and IDS not in done:
        ids = chosen.table.column("id" if "id" in chosen.table.column_names else "row").to_pylist()
        store.add_file(HERE, IDS, lambda path: path.write_text("".join(f"{one}\n" for one in ids), encoding="utf-8"))
    elif format == "jsonl" and LINES not in done:
        store.add_file(HERE, LINES, lambda path: _write_lines(path, _json_lines(chosen.dataset(), columns)))
    elif format == "arrow" and STATE not in done:
        _save_to_disk(store, chosen.dataset(), columns)


def _save_to_disk(store: Store, rows: "datasets.Dataset", columns: Columns) -> None:
    """What `save_to_disk` writes, made beside its place and moved in file by file; state.json, which names the others, goes last."""
    for name, values in columns.items():
        rows = rows.add_column(name, values.to_pylist())
    aside = store.path / ("save_to_disk" + TEMPORARY)
    shutil.rmtree(aside, ignore_errors=True)
    with plain_os_errors(aside), quiet():
        rows.save_to_disk(str(aside))
    for file in sorted(aside.iterdir(), key=lambda file: (file.name == STATE, file.name)):
        store.add_file(HERE, file.name, file.replace)
    aside.rmdir()


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)


def _json_lines(rows: "datasets.Dataset", columns: Columns) -> Iterator[str]:
    for first, stop in _file_ranges(rows):
        table = _with_columns(_plain_table(rows, first, stop, None), columns, first, stop)
        yield from (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist())


def _file_ranges(rows: "datasets.Dataset") -> list[tuple[int, int]]:
    """Files of some 256 MB, by the bytes of the table behind the rows."""
    a_row = rows.data.nbytes / max(1, rows.data.num_rows)
    step = int(max(1, min(1_000_000, FILE_BYTES / max(1.0, a_row))))
    return [(first, min(first + step, len(rows))) for first in range(0, max(1, len(rows)), step)]


def _plain_table(rows: "datasets.Dataset", first: int, stop: int, root: Path | None) -> pa.Table:
    """Rows as Arrow with the features' metadata; images that lie in files are read in, so that the folder stands alone."""
    part: pa.Table = rows.with_format("arrow")[first:stop]
    for name, feature in rows.features.items():
        if type(feature).__name__ == "Image":
            part = part.set_column(part.column_names.index(name), part.schema.field(name), _embedded(part.column(name), root))
    return part.replace_schema_metadata(rows.features.arrow_schema.metadata)


def _embedded(column: pa.ChunkedArray, root: Path | None) -> pa.Array:
    cells = column.combine_chunks()
    if not cells.field("bytes").null_count:
        return cells
    filled: list[Any] = [
        cell and {"bytes": cell["bytes"] or read_image_file(cell["path"], root), "path": cell["path"] and Path(cell["path"]).name}
        for cell in cells.to_pylist()
    ]
    return pa.array(filled, column.type)


def _with_columns(table: pa.Table, columns: Columns, first: int, stop: int) -> pa.Table:
    """The features' metadata must name the added columns too, or `datasets` drops them."""
    for name, values in columns.items():
        table = table.append_column(name, values.slice(first, stop - first))
    if not columns or not table.schema.metadata:
        return table
    info = json.loads(table.schema.metadata[b"huggingface"])
    info["info"]["features"] |= {name: {"dtype": "float32", "_type": "Value"} for name in columns}
    return table.replace_schema_metadata({**table.schema.metadata, b"huggingface": json.dumps(info).encode()})
