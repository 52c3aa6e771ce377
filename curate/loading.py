"""`curate.load`: opens whatever the user calls data, chooses the split and settles which columns are input, label and id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.columns import find_roles, kinds_of
from curate.data import PEEK, Dataset, to_text
from curate.errors import InputError, OptionError, UnknownNameError, did_you_mean
from curate.files import open_named
from curate.image_tables import holds_arrays, with_pictures
from curate.labels import is_all_missing
from curate.memory import open_object
from curate.reading import no_rows

if TYPE_CHECKING:
    import datasets


PICTURE_HEADS: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")


@dataclass(frozen=True)
class _Choice:
    """The roles that the user named; None is for us to find."""

    input: tuple[str, ...] | None
    label: str | None
    id: str | None


def load(
    source: Any,
    *,
    input: str | Sequence[str] | None = None,
    label: str | None = None,
    id: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> Dataset:
    """Data from a file, folder, hub name, sample or Python object as a `Dataset`, whose roles are found unless they are named.

    `source` is a path or glob of parquet, csv, tsv, json, jsonl or arrow files, a folder of them, a `save_to_disk` folder, an
    image folder (one subfolder a class), a URL that fsspec knows, `org/name[:config][@revision]` on the Hugging Face hub or
    `sample:NAME`; or a `datasets.Dataset` or `DatasetDict`, a `curate.Dataset` (which gets the roles named here), a torch
    map-style dataset of (x, y), a numpy array X or pair (X, y), a pandas or polars DataFrame, an Arrow table.

    `input` is a column, or several (two texts are a pair), also as "a,b". Split "train" is taken unless another is named, and a
    source's split "test" then becomes `.test`. `limit` keeps the first rows. Files are memory-mapped, through the cache of
    `datasets` (Arrow files as they lie); Python objects are held in memory. In csv, empty fields and words such as NA and null
    are missing, as in pandas. InputError, ColumnError or OptionError, before anything long starts, where this cannot be had.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"limit must be 1 or more, got {limit}. Leave it out to take every row.")
    if isinstance(source, str) and not source.strip():
        raise OptionError("DATA is empty; a path, a hub name as org/name or sample:NAME is expected. Check the variable that holds it.")
    choice = _Choice(_names(input), label, id)
    if isinstance(source, Dataset):
        return _again(source, choice, split, limit)
    opened = open_named(str(source)) if isinstance(source, str | Path) else open_object(source)
    name = _choose_split(opened.splits, split, opened.title)
    recipe = None if opened.location is None else {"source": opened.location, "split": name, "limit": limit}
    data = _with_roles(opened.splits[name], choice, opened.title, opened.image_root, recipe)
    test = _test_split(opened.splits, data) if name == "train" else None
    return replace(_limited(data, limit), test=test)


def _names(input: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if input is None:
        return None
    return (input,) if isinstance(input, str) else tuple(input)


def _with_roles(table: "datasets.Dataset", choice: _Choice, source: str, root: Path | None, recipe: Mapping[str, Any] | None) -> Dataset:
    """`recipe` so far holds where the rows come from; the roles join it as they were found, so that they are not sought again."""
    if not len(table):
        raise no_rows(source)
    table = _with_images(table)
    kinds = kinds_of(table.features, table.features.arrow_schema)
    input = choice.input
    if input and len(input) == 1 and input[0] not in kinds:
        input = tuple(part.strip() for part in input[0].split(","))

    def peek(name: str) -> list[str | None]:
        return to_text(table.select_columns([name]).with_format("arrow")[:PEEK].column(0))

    roles = find_roles(kinds, input=input, label=choice.label, id=choice.id, peek=peek)
    if recipe is not None:
        recipe = {**recipe, "input": list(roles.inputs), "label": roles.label, "id": roles.id}
    return Dataset(
        table=table,
        inputs=roles.inputs,
        label=roles.label,
        id=roles.id,
        modality=roles.modality,
        source=source,
        recipe=recipe,
        chat_template=roles.chat_template,
        image_root=root,
    )


def _with_images(table: "datasets.Dataset") -> "datasets.Dataset":
    """Columns of bytes whose first value opens like a picture become Image columns, as other tools write them without saying so.

    So do arrays of height x width x 1 or 3, which distilled sets have, for all that reads images; their own numbers stay in the folder.
    """
    import datasets

    for name, feature in table.features.items():
        if holds_arrays(table.data.column(name)):
            table = with_pictures(table, name)
        if getattr(feature, "dtype", "") in ("binary", "large_binary"):
            first = next((cell for cell in table.select_columns([name]).with_format("arrow")[:PEEK].column(0).to_pylist() if cell), b"")
            if first.startswith(PICTURE_HEADS) or first[8:12] == b"WEBP":
                table = table.cast_column(name, datasets.Image())
    return table


def _choose_split(splits: "Mapping[str, datasets.Dataset]", wanted: str | None, source: str) -> str:
    if wanted is not None:
        if wanted not in splits:
            raise UnknownNameError(
                f'"{source}" has no split "{wanted}".{did_you_mean(wanted, splits)} It has: {", ".join(splits)}. Name one with --split.'
            )
        return wanted
    if "train" in splits or len(splits) == 1:
        return "train" if "train" in splits else next(iter(splits))
    raise InputError(f'"{source}" has the splits {", ".join(splits)} and none called train. Name one with --split SPLIT (split=…).')


def _test_split(splits: "Mapping[str, datasets.Dataset]", train: Dataset) -> Dataset | None:
    """The source's own test split, unless it cannot test: other columns, no rows, or its labels kept secret."""
    table = splits.get("test")
    needed = {*train.inputs, *([train.label] if train.label else [])}
    if table is None or not len(table) or not needed <= set(table.column_names):
        return None
    recipe = None if train.recipe is None else {**train.recipe, "split": "test", "limit": None}
    test = replace(train, table=table, recipe=recipe, classes_of=train, id=train.id if train.id in table.column_names else None)
    return None if train.label and is_all_missing(test.column(train.label)) else test


def _again(data: Dataset, choice: _Choice, split: str | None, limit: int | None) -> Dataset:
    """The same rows with other roles, those that are not named staying as they were."""
    if split == "test" and data.test is not None:
        return _again(data.test, choice, None, limit)
    if split not in (None, "train"):
        has = "train, test" if data.test is not None else "train"
        raise UnknownNameError(f'"{data.source}" is loaded already and has no split "{split}", only: {has}. Load it from its source.')
    if choice == _Choice(None, None, None):
        return _limited(data, limit)
    # A column that becomes the label must leave the inputs, and so those are sought anew.
    input = choice.input or (None if choice.label in data.inputs else data.inputs)
    settled = _Choice(input, choice.label or data.label, choice.id or data.id)
    again = _with_roles(data.table, settled, data.source, data.image_root, data.recipe)
    same_label = again.label == data.label
    test = None if data.test is None else _with_roles(data.test.table, settled, data.source, data.image_root, data.test.recipe)
    again = replace(again, classes_of=data.classes_of if same_label else None)
    return _limited(replace(again, test=test and replace(test, classes_of=again)), limit)


def _limited(data: Dataset, limit: int | None) -> Dataset:
    """The first rows; class codes stay those of all rows, so that a test split still fits them."""
    if limit is None or limit >= len(data):
        return data
    recipe = None if data.recipe is None else {**data.recipe, "limit": limit}
    return replace(data, table=data.table.select(range(limit)), recipe=recipe, classes_of=data.classes_of or data)
