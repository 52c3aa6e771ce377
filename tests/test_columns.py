import datasets
import pyarrow as pa
import pytest

from curate.columns import find_roles, kinds_of
from curate.errors import ColumnError

IMAGE, NAMES = datasets.Image(), datasets.ClassLabel(names=["a", "b"])
TEXT, NUMBER, FLAG = datasets.Value("string"), datasets.Value("float32"), datasets.Value("bool")
WHOLE, DATE = datasets.Value("int64"), datasets.Value("timestamp[s]")
VECTOR = datasets.Sequence(datasets.Value("float32"), length=4)
MESSAGES, SHAREGPT = [{"role": TEXT, "content": TEXT}], [{"from": TEXT, "value": TEXT}]
PROSE = [f"the {word} fox jumps" for word in ("quick", "lazy", "red", "old")]
WORDS = ["red", "blue", "red", None]


def roles(columns, peeked=None, **named):
    features = datasets.Features(columns)
    return find_roles(kinds_of(features, features.arrow_schema), peek=(peeked or {}).__getitem__, **named)


@pytest.mark.parametrize(
    "columns, modality, inputs, label",
    [
        ({"img": IMAGE, "label": NAMES}, "image", ("img",), "label"),
        ({"image": IMAGE, "caption": TEXT, "fine": NAMES}, "image", ("image",), "fine"),
        ({"Text": TEXT, "LABEL": WHOLE}, "text", ("Text",), "LABEL"),
        ({"text": TEXT, "title": TEXT, "intent": TEXT}, "text", ("text",), "intent"),
        ({"text": TEXT, "review": TEXT, "y": WHOLE}, "text", ("text",), "y"),
        ({"utt": TEXT, "id": TEXT, "label": TEXT}, "text", ("utt",), "label"),
        ({"premise": TEXT, "hypothesis": TEXT, "label": WHOLE}, "text_pair", ("premise", "hypothesis"), "label"),
        ({"sentence1": TEXT, "sentence2": TEXT, "idx": WHOLE}, "text_pair", ("sentence1", "sentence2"), None),
        ({"question": TEXT, "answer": TEXT}, "text_pair", ("question", "answer"), None),
        ({"messages": MESSAGES}, "chat", ("messages",), None),
        ({"conversations": SHAREGPT, "id": TEXT}, "chat", ("conversations",), None),
        ({"instruction": TEXT, "input": TEXT, "output": TEXT}, "chat", ("instruction", "input", "output"), None),
        ({"instruction": TEXT, "response": TEXT, "category": TEXT}, "chat", ("instruction", "response"), "category"),
        ({"prompt": TEXT, "completion": TEXT}, "chat", ("prompt", "completion"), None),
        ({"embedding": VECTOR, "other": VECTOR, "label": WHOLE}, "embedding", ("embedding",), "label"),
        ({"clip": VECTOR, "target": WHOLE}, "embedding", ("clip",), "target"),
        ({"age": NUMBER, "member": FLAG, "born": DATE, "id": WHOLE, "class": TEXT}, "table", ("age", "member"), "class"),
        ({"Unnamed: 0": WHOLE, "age": NUMBER}, "table", ("age",), None),
        ({"text": TEXT, "labels": datasets.Sequence(WHOLE)}, "text", ("text",), None),
    ],
    ids=str,
)
def test_roles_follow_from_names_and_types(columns, modality, inputs, label):
    found = roles(columns)

    assert (found.modality, found.inputs, found.label, found.id) == (modality, inputs, label, None)


@pytest.mark.parametrize(
    "peeked, modality, inputs",
    [
        ({"a": WORDS}, "table", ("a", "n")),
        ({"a": PROSE}, "text", ("a",)),
        ({"a": PROSE, "b": WORDS}, "text", ("a",)),
        ({"a": WORDS, "b": WORDS}, "table", ("a", "b", "n")),
        ({"a": [None, ""]}, "table", ("a", "n")),
    ],
    ids=["categories", "prose", "both", "two categories", "nothing"],
)
def test_a_look_at_the_rows_tells_text_from_categories(peeked, modality, inputs):
    found = roles({**dict.fromkeys(peeked, TEXT), "n": NUMBER}, peeked)

    assert (found.modality, found.inputs) == (modality, inputs)


@pytest.mark.parametrize(
    "columns, peeked, message",
    [
        ({"left": IMAGE, "right": IMAGE}, {}, '2 image columns: "left", "right".*--input'),
        ({"review": TEXT, "document": TEXT}, {}, '2 text columns: "document", "review".*--input'),
        ({"a": TEXT, "b": TEXT}, {"a": PROSE, "b": PROSE}, '2 text columns: "a", "b".*--input'),
        ({"u": VECTOR, "v": VECTOR}, {}, '2 vector columns: "u", "v".*--input'),
        ({"m": MESSAGES, "n": MESSAGES}, {}, '2 conversation columns: "m", "n".*--input'),
        ({"label": WHOLE}, {}, "none beside label and id.*--input"),
    ],
    ids=["images", "names", "prose", "vectors", "chats", "label alone"],
)
def test_what_is_ambiguous_is_an_error_that_names_the_candidates(columns, peeked, message):
    with pytest.raises(ColumnError, match=message):
        roles(columns, peeked)


@pytest.mark.parametrize(
    "columns, input, modality",
    [
        ({"a": TEXT, "text": TEXT}, ("a",), "text"),
        ({"b": TEXT, "a": TEXT}, ("a", "b"), "text_pair"),
        ({"a": TEXT, "b": NUMBER, "text": TEXT}, ("b", "a"), "table"),
        ({"a": NUMBER, "text": TEXT}, ("a",), "table"),
        ({"label": TEXT, "text": TEXT}, ("label",), "text"),
        ({"v": datasets.Sequence(WHOLE), "text": TEXT}, ("v",), "embedding"),
        ({"instruction": TEXT, "input": TEXT, "output": TEXT}, ("instruction", "input", "output"), "chat"),
    ],
    ids=str,
)
def test_named_inputs_are_taken_for_what_their_types_are(columns, input, modality):
    found = roles(columns, input=input)

    assert (found.inputs, found.modality) == (input, modality)


@pytest.mark.parametrize(
    "named, message",
    [
        ({"input": ("txet",)}, 'No column "txet". Did you mean "text"\\?'),
        ({"label": "lable"}, 'No column "lable". Did you mean "label"\\?'),
        ({"id": "key"}, 'No column "key". The columns are: "text", "label", "image", "when"'),
        ({"input": ("text",), "label": "text"}, "both input and label"),
        ({"input": ("text", "image")}, '"image" \\(image\\) cannot be one of 2 inputs'),
        ({"input": ("when",)}, '"when" \\(other\\) cannot be an input'),
    ],
    ids=str,
)
def test_a_named_column_that_cannot_be_it_is_an_error(named, message):
    with pytest.raises(ColumnError, match=message):
        roles({"text": TEXT, "label": WHOLE, "image": IMAGE, "when": DATE}, **named)


def test_a_plain_struct_of_bytes_and_path_is_an_image_and_audio_is_not():
    schema = pa.schema({"a": pa.struct([("bytes", pa.binary()), ("path", pa.string())])})

    assert kinds_of(datasets.Features.from_arrow_schema(schema), schema) == {"a": "image"}
    assert kinds_of({"a": datasets.Audio()}, schema) == {"a": "other"}
