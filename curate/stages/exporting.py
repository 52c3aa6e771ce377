"""`curate export`, and the data that `curate select` writes: a hub-ready folder, or another format."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from curate.data import Dataset
from curate.disk import write_whole
from curate.errors import InputError, OptionError, OtherJobError, did_you_mean
from curate.fingerprint import read_image_file
from curate.locks import locked
from curate.progress import Progress, Silent
from curate.scores import Scores
from curate.selection import CARD, DATA, HERE, Selection
from curate.store import Store, read_arrow, refuse_foreign, remove

if TYPE_CHECKING:
    import datasets

Format = Literal["parquet", "arrow", "jsonl", "ids"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
FILE_BYTES: Final = 256 << 20


def export(
    selection: Selection | str | Path,
    *,
    out: str | Path,
    format: str = "parquet",
    data: Dataset | None = None,
    scores: Scores | str | Path | None = None,
    push_to_hub: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a selection's rows to the folder `out` and returns it.

    `parquet` is a hub-ready folder (data/, card, selection.arrow), `arrow` a `save_to_disk` folder, `jsonl` one JSON object a
    line, `ids` the user's ids or row numbers one a line. `data` is the source, needed where the selection was written with rows only. `scores` adds that store's columns as
    `score.NAME`. `push_to_hub="org/name"` uploads a parquet folder afterwards. OptionError for an unknown format or columns that it
    cannot hold.
    """
    progress = progress or Silent()
    chosen = selection if isinstance(selection, Selection) else Selection.open(selection)
    folder = Path(out)
    if format not in FORMATS:
        raise OptionError(f'No format "{format}".{did_you_mean(format, FORMATS)} There are: {", ".join(FORMATS)}.')
    if push_to_hub and format != "parquet":
        raise OptionError(f"--push-to-hub uploads parquet; --format says {format}. Leave one of them out.")
    if folder.resolve() == chosen.path.resolve():
        raise OptionError(f'--out is the selection\'s own folder "{folder}". Name another.')
    if data is not None:
        chosen.require_dataset(data)
    columns = _score_columns(scores, chosen) if scores is not None else {}
    rows = _source(chosen, data)
    _refuse_unwritable(rows, format)
    if overwrite:
        remove(folder)
    with locked(folder):
        if format == "parquet":
            _as_parquet(chosen, rows, folder, columns, progress)
        else:
            _as_files(chosen, rows, folder, format, columns)
    if push_to_hub:
        push(folder, push_to_hub)
    return folder


def write_data(
    store: Store, rows: "datasets.Dataset", progress: Progress, *, root: Path | None = None, columns: dict[str, pa.Array] | None = None
) -> None:
    """data/train-*.parquet of a selection's store, file by whole file; those that are there already are kept."""
    ranges = _file_ranges(rows)
    store.describe(DATA, {"files": len(ranges), "columns": sorted(columns or {})})
    done = {entry.file for entry in store.files(DATA)}
    with progress.task("write data", len(rows)) as task:
        for index, (first, stop) in enumerate(ranges):
            name = f"train-{index:05d}-of-{len(ranges):05d}.parquet"
            if name not in done:
                table = _with_columns(_plain_table(rows, first, stop, root), columns or {}, first, stop)
                store.add_file(DATA, name, lambda path, table=table: pq.write_table(table, str(path)))  # type: ignore[misc]
            task.advance(stop - first)


def push(folder: Path, repository: str) -> str:
    """Uploads a hub-ready folder to the Hugging Face hub as a dataset; the token comes from the environment or the hub's own login."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if repository.count("/") != 1:
        raise OptionError(f'--push-to-hub takes ORG/NAME, got "{repository}".')
    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", exist_ok=True, private=True)
        api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=str(folder), ignore_patterns=[".lock", "*.tmp"])
    except (HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f'Could not push to "{repository}": {first} The folder "{folder}" is whole; log in with `hf auth login` or set HF_TOKEN, then try again.'
        ) from error
    return f"https://huggingface.co/datasets/{repository}"


def _source(chosen: Selection, data: Dataset | None) -> "datasets.Dataset":
    if data is not None and chosen._data is None:
        chosen = Selection(chosen.store, data)
    return chosen.dataset()


def _score_columns(scores: Scores | str | Path, chosen: Selection) -> dict[str, pa.Array]:
    """Every score's own column at the selected rows."""
    opened = scores if isinstance(scores, Scores) else Scores.open(scores)
    if opened.store.dataset["fingerprint"] != chosen.store.dataset["fingerprint"]:
        raise InputError(f'Scores "{opened.path}" are of another dataset than selection "{chosen.path}".')
    return {f"score.{name}": pa.array(opened[name][chosen.rows], from_pandas=True) for name in opened.names}


def _refuse_unwritable(rows: "datasets.Dataset", format: str) -> None:
    import datasets

    images = [name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    if format == "jsonl" and images:
        raise OptionError(f'Column "{images[0]}" holds images, which jsonl cannot. Use --format parquet or arrow.')


def _as_parquet(chosen: Selection, rows: "datasets.Dataset", folder: Path, columns: dict[str, pa.Array], progress: Progress) -> None:
    about = chosen.store.about(HERE)
    job = chosen.store.job | {"columns": sorted(columns)}
    if (folder / "manifest.json").is_file():
        store = Store.open(folder)
        if store.job != job or store.dataset != chosen.store.dataset:
            raise OtherJobError(f'"{folder}" holds another job. Use another --out, or --overwrite.')
        store.drop_damaged()
    else:
        store = Store.create(folder, "selection", dataset=chosen.store.dataset, job=job, settled={})
    store.describe(HERE, about)
    store.add_file(HERE, "selection.arrow", lambda path: shutil.copyfile(chosen.path / "selection.arrow", path))
    store.add_file(HERE, CARD, lambda path: shutil.copyfile(chosen.path / CARD, path))
    write_data(store, rows, progress, root=None if chosen._data is None else chosen._data.image_root, columns=columns)


def _as_files(chosen: Selection, rows: "datasets.Dataset", folder: Path, format: str, columns: dict[str, pa.Array]) -> None:
    refuse_foreign(folder)
    if (folder / "manifest.json").is_file():
        raise OtherJobError(f'"{folder}" holds another job. Use another --out, or --overwrite.')
    if format == "ids":
        table = read_arrow(chosen.path / "selection.arrow")
        ids = table.column("id" if "id" in table.column_names else "row").to_pylist()
        write_whole(folder / "ids.txt", lambda path: path.write_text("".join(f"{one}\n" for one in ids), encoding="utf-8"))
    elif format == "jsonl":
        write_whole(folder / "train.jsonl", lambda path: path.write_text("".join(_json_lines(rows, columns)), encoding="utf-8"))
    else:
        wider = rows
        for name, values in columns.items():
            wider = wider.add_column(name, values.to_pylist())  # type: ignore[attr-defined]
        wider.save_to_disk(str(folder))
    if format != "arrow":
        write_whole(folder / CARD, lambda path: shutil.copyfile(chosen.path / CARD, path))


def _json_lines(rows: "datasets.Dataset", columns: dict[str, pa.Array]) -> Iterator[str]:
    for first, stop in _file_ranges(rows):
        table = _with_columns(_plain_table(rows, first, stop, None), columns, first, stop)
        yield from (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist())


def _file_ranges(rows: "datasets.Dataset") -> list[tuple[int, int]]:
    """Files of some 256 MB, by the bytes of the table behind the rows."""
    a_row = rows.data.nbytes / max(1, rows.data.num_rows)
    step = int(max(1, min(1_000_000, FILE_BYTES / max(1.0, a_row))))
    return [(first, min(first + step, len(rows))) for first in range(0, max(1, len(rows)), step)]


def _plain_table(rows: "datasets.Dataset", first: int, stop: int, root: Path | None) -> pa.Table:
    """Rows as Arrow with the features' metadata, images that lie in files beside the source read in, so that the folder stands alone."""
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


def _with_columns(table: pa.Table, columns: dict[str, pa.Array], first: int, stop: int) -> pa.Table:
    for name, values in columns.items():
        table = table.append_column(name, values.slice(first, stop - first))
    if columns and table.schema.metadata:
        # The features' metadata names the old columns only; a reader finds the new ones' types by itself.
        table = table.replace_schema_metadata(_extended(table))
    return table


def _extended(table: pa.Table) -> dict[bytes, bytes]:
    metadata = dict(table.schema.metadata)
    info = json.loads(metadata[b"huggingface"])
    for field in table.schema:
        info["info"]["features"].setdefault(field.name, {"dtype": "float32", "_type": "Value"})
    return {**metadata, b"huggingface": json.dumps(info).encode()}
