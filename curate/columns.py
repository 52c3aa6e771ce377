"""What the columns of a table are for: the kind of each, which ones are the input, which the label, and hence the modality.

Names and types decide, and where names say nothing, a look at the first rows tells running text from categories. What stays
ambiguous is an error that names the candidates; nothing is guessed.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.types as pt

from curate.chat import COLUMN_SETS, ChatTemplate
from curate.errors import ColumnError, did_you_mean
from curate.fingerprint import is_image

Modality = Literal["image", "text", "text_pair", "chat", "table", "embedding"]
Kind = Literal["image", "text", "number", "bool", "class", "vector", "messages", "sharegpt", "mixed", "other"]
Peek = Callable[[str], Sequence[str | None]]

LABEL_NAMES: Final = ("label", "labels", "target", "class", "intent", "category", "y")
TEXT_NAMES: Final = (
    "text",
    "sentence",
    "content",
    "document",
    "review",
    "question",
    "utterance",
    "headline",
    "comment",
    "tweet",
    "article",
)
VECTOR_NAMES: Final = ("embedding", "embeddings", "vector", "features")
PAIR_NAMES: Final = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("question", "sentence"),
    ("question", "answer"),
)
_CHAT_NAMES: Final = ("messages", "conversations", "conversation")
_ID_NAMES: Final = frozenset(
    {"id", "ids", "idx", "index", "guid", "uid", "uuid", "row", "row_id", "rowid", "__index_level_0__", "unnamed: 0"}
)
_INPUT_NAMES: Final = frozenset({*TEXT_NAMES, *(name for pair in PAIR_NAMES for name in pair), *_CHAT_NAMES})
_SCALARS: Final = ("number", "text", "bool", "class")


@dataclass(frozen=True)
class Roles:
    """Which columns are input, label and id, and what the input is."""

    inputs: tuple[str, ...]
    label: str | None
    id: str | None
    modality: Modality
    chat_template: ChatTemplate | None = None


def find_roles(
    kinds: Mapping[str, Kind], *, input: Sequence[str] | None = None, label: str | None = None, id: str | None = None, peek: Peek
) -> Roles:
    """The roles of columns of these kinds; names that are given win, ColumnError if they cannot be what they are said to be.

    `peek` gives the first texts of a column; it is asked only where names do not decide.
    """
    for name in (*(input or ()), label, id):
        require(name, kinds)
    _refuse_mixed(kinds, input or _INPUT_NAMES, label)
    label = label or _find_label({name: kind for name, kind in kinds.items() if name not in (input or ())})
    if input:
        return _named_inputs(kinds, tuple(input), label, id)
    free: dict[str, Kind] = {name: kind for name, kind in kinds.items() if name not in (label, id) and name.lower() not in _ID_NAMES}
    found = _by_name(free) or _by_content(free, peek)
    return Roles(found.inputs, label, id, found.modality, found.chat_template)


def _refuse_mixed(kinds: Mapping[str, Kind], inputs: Container[str], label: str | None) -> None:
    """ColumnError where what would be an input or the label holds now a text, now a number."""
    labels = LABEL_NAMES if label is None else (label,)
    for name, kind in kinds.items():
        if kind == "mixed" and any(one in inputs or one in labels for one in (name, name.lower())):
            raise ColumnError(
                f'Column "{name}" holds values of several types, such as texts in some rows and numbers in others. '
                "Write them all as one type, or name other columns with --input and --label."
            )


def require(name: str | None, known: Mapping[str, Any]) -> None:
    """ColumnError if a column is named that is not there."""
    if name is not None and name not in known:
        raise ColumnError(f'No column "{name}".{did_you_mean(name, known)} The columns are: {_quoted(known)}.')


def kinds_of(features: Mapping[str, Any], schema: pa.Schema) -> dict[str, Kind]:
    """The kind of each column, from its `datasets` feature where that says more than its Arrow type."""
    return {field.name: _kind(type(features.get(field.name)).__name__, field.type) for field in schema}


def _kind(feature: str, arrow: pa.DataType) -> Kind:
    if feature == "Json":  # of values of several types `datasets` makes JSON, texts in quotes
        return "mixed"
    if feature in ("ClassLabel", "Image"):
        return "class" if feature == "ClassLabel" else "image"
    if isinstance(arrow, pa.BaseExtensionType):
        return _kind("", arrow.storage_type)
    if pt.is_string(arrow) or pt.is_large_string(arrow) or pt.is_string_view(arrow):
        return "text"
    if pt.is_boolean(arrow):
        return "bool"
    if pt.is_integer(arrow) or pt.is_floating(arrow) or pt.is_decimal(arrow):
        return "number"
    if pt.is_list(arrow) or pt.is_large_list(arrow) or pt.is_fixed_size_list(arrow):
        return _list_kind(arrow.value_type)
    return "image" if feature == "dict" and is_image(arrow) else "other"  # audio and video lie on disk like images


def _list_kind(value: pa.DataType) -> Kind:
    if pt.is_integer(value) or pt.is_floating(value):
        return "vector"
    fields = {field.name for field in value} if pt.is_struct(value) else set()
    if {"role", "content"} <= fields:
        return "messages"
    return "sharegpt" if {"from", "value"} <= fields else "other"


def _find_label(kinds: Mapping[str, Kind]) -> str | None:
    """A column so called, else the only ClassLabel, else none."""
    scalar = {name.lower(): name for name, kind in kinds.items() if kind in _SCALARS}
    for name in LABEL_NAMES:
        if name in scalar:
            return scalar[name]
    classes = [name for name, kind in kinds.items() if kind == "class"]
    return classes[0] if len(classes) == 1 else None


def _named_inputs(kinds: Mapping[str, Kind], inputs: tuple[str, ...], label: str | None, id: str | None) -> Roles:
    if label in inputs:
        raise ColumnError(f'Column "{label}" cannot be both input and label. Name another with --label or --input.')
    own: dict[str, Kind] = {name: kinds[name] for name in inputs}
    if chat := _chat_template(own):
        return Roles(chat.columns, label, id, "chat", chat)
    found = set(own.values())
    modality: Modality
    if len(inputs) == 1 and found & {"image", "text", "vector"}:
        modality = {"image": "image", "text": "text", "vector": "embedding"}[found.pop()]  # type: ignore[assignment]  # a dict loses literals
    elif len(inputs) == 2 and found == {"text"}:
        modality = "text_pair"
    elif found <= set(_SCALARS):
        modality = "table"
    else:
        odd = next(name for name, kind in own.items() if kind not in _SCALARS)
        raise ColumnError(
            f'Column "{odd}" ({own[odd]}) cannot be {"an input" if len(inputs) == 1 else f"one of {len(inputs)} inputs"}. '
            "Inputs are one image, text, conversation or vector column, two texts, or any number of numbers and categories."
        )
    return Roles(inputs, label, id, modality)


def _by_name(free: Mapping[str, Kind]) -> Roles | None:
    images = [name for name, kind in free.items() if kind == "image"]
    if images:
        return Roles((_only(images, "image columns"),), None, None, "image")
    if chat := _chat_template(free):
        return Roles(chat.columns, None, None, "chat", chat)
    texts = {name.lower(): name for name, kind in free.items() if kind == "text"}
    for pair in PAIR_NAMES:
        if all(name in texts for name in pair):
            return Roles(tuple(texts[name] for name in pair), None, None, "text_pair")
    named = [texts[name] for name in TEXT_NAMES if name in texts]
    if named:
        # "text" is what the field calls the input; any other two names could both be meant.
        chosen = named[0] if named[0].lower() == "text" else _only(named, "text columns")
        return Roles((chosen,), None, None, "text")
    vectors = [name for name, kind in free.items() if kind == "vector"]
    vectors = [name for name in vectors if name.lower() in VECTOR_NAMES] or vectors
    return Roles((_only(vectors, "vector columns"),), None, None, "embedding") if vectors else None


def _by_content(free: Mapping[str, Kind], peek: Peek) -> Roles:
    texts = [name for name, kind in free.items() if kind == "text"]
    scalars = tuple(name for name, kind in free.items() if kind in _SCALARS)
    if len(texts) == 1 and len(scalars) == 1:
        return Roles((texts[0],), None, None, "text")
    running = [name for name in texts if _is_running_text(peek(name))]
    if running:
        return Roles((_only(running, "text columns"),), None, None, "text")
    if scalars:
        return Roles(scalars, None, None, "table")
    raise ColumnError(
        f"No column can serve as input; the columns are: {_quoted(free) or 'none beside label and id'}. Name one with --input COLUMN."
    )


def _is_running_text(values: Sequence[str | None]) -> bool:
    """Categories repeat and are a word or two; running text does neither."""
    present = [value for value in values if value]
    words = sum(len(value.split()) for value in present)
    return bool(present) and words >= 3 * len(present) and len(set(present)) > len(present) / 2


def _chat_template(columns: Mapping[str, Kind]) -> ChatTemplate | None:
    chats = [name for name, kind in columns.items() if kind in ("messages", "sharegpt")]
    if chats:
        named = [name for name in chats if name.lower() in _CHAT_NAMES]
        name = _only(named or chats, "conversation columns")
        return ChatTemplate("chatml" if columns[name] == "messages" else "sharegpt", (name,))
    texts = {name.lower(): name for name, kind in columns.items() if kind == "text"}
    for template, slots in COLUMN_SETS:
        found = [next((texts[name] for name in slot if name in texts), None) for slot in slots]
        chosen = tuple(name for name in found if name is not None)
        if len(chosen) == len(slots):
            return ChatTemplate(template, chosen)
    return None


def _only(names: Sequence[str], what: str) -> str:
    if len(names) > 1:
        raise ColumnError(f"Found {len(names)} {what}: {_quoted(names)}; one is expected. Name it with --input COLUMN.")
    return names[0]


def _quoted(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(f'"{name}"' for name in names)
