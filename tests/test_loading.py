import gzip
import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from curate.errors import ColumnError, InputError, MissingExtraError, OptionError, UnknownNameError
from curate.loading import load

ROWS = {"text": ["a b c", "d", "e f"], "label": ["x", "y", "x"]}
TABLE = pa.table(ROWS)
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})


def write(path, table=TABLE):
    """A file of the kind that its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = table.to_pandas()
    match path.suffixes:
        case [".parquet"]:
            pq.write_table(table, path)
        case [".csv"] | [".tsv"]:
            frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        case [".json"]:
            path.write_text(json.dumps(table.to_pylist()))
        case [".jsonl", ".gz"]:
            path.write_bytes(gzip.compress(frame.to_json(orient="records", lines=True).encode()))
        case [".jsonl"]:
            frame.to_json(path, orient="records", lines=True)
        case [".arrow"] | [".ipc"]:
            open_ = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
            with open_(str(path), table.schema) as out:
                out.write_table(table)
    return path


def image_files(folder, *names):
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), value, np.uint8)).save(folder / name)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.tsv", "t.json", "t.jsonl", "t.jsonl.gz", "t.arrow", "t.ipc", "odd [1]*.parquet"])
def test_every_kind_of_file_loads_with_the_same_roles(tmp_path, name):
    data = load(write(tmp_path / name))

    assert (data.inputs, data.label, data.modality, data.texts(0, 3)) == (("text",), "label", "text", ROWS["text"])
    assert data.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.ipc"])
def test_image_and_class_features_survive_in_files(tmp_path, name):
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    made = load((pixels, np.array([1, 0])))
    table = made.table.cast(FEATURES).data.table.replace_schema_metadata(FEATURES.arrow_schema.metadata)
    pq.write_table(table, tmp_path / "t.parquet")

    data = load(write(tmp_path / name, table) if name != "t.parquet" else tmp_path / name)

    assert (data.modality, data.label_names, data.labels.tolist()) == ("image", ("cat", "dog"), [1, 0])
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in data.images(0, 2)]), pixels)
    assert data.fingerprint == made.fingerprint


def test_a_pattern_takes_its_files_in_the_order_of_their_names(tmp_path):
    for i in (2, 0, 1):
        write(tmp_path / f"part-{i}.parquet", pa.table({"text": [f"t{i}"]}))

    assert load(tmp_path / "part-*.parquet").texts(0, 3) == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    "files, n_train, n_test",
    [
        (["a.parquet", "b.parquet"], 6, None),
        (["train.csv", "test.csv", "validation.csv"], 3, 3),
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "notes.csv.bak"], 3, 3),
        (["train/0.jsonl.gz", "train/1.jsonl.gz", "test/0.jsonl.gz"], 6, 3),
    ],
    ids=["plain", "names", "hub layout", "folders"],
)
def test_a_folder_gives_the_splits_that_its_names_say(tmp_path, files, n_train, n_test):
    for name in files:
        write(tmp_path / name)

    data = load(tmp_path)

    assert (len(data), data.test and len(data.test)) == (n_train, n_test)


def test_a_card_that_names_the_files_of_a_split_is_followed(tmp_path):
    write(tmp_path / "data" / "odd.parquet")
    write(tmp_path / "selection.arrow")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.parquet\n---\n"
    (tmp_path / "README.md").write_text(card)

    assert load(tmp_path).texts(0, 3) == ROWS["text"]


@pytest.mark.parametrize("as_dict", [True, False], ids=["DatasetDict", "Dataset"])
def test_a_saved_dataset_loads_from_its_folder(tmp_path, as_dict):
    one = datasets.Dataset(TABLE)
    (datasets.DatasetDict(train=one, test=one.select([1])) if as_dict else one).save_to_disk(tmp_path / "saved")

    data = load(tmp_path / "saved")

    assert len(data) == 3 and (data.test is not None) == as_dict


def test_an_image_folder_has_its_subfolders_for_classes_and_passes_over_other_files(tmp_path):
    image_files(tmp_path, "cat/1.png", "cat/deep/2.png", "dog/3.png", "4.png")
    (tmp_path / "cat" / "notes.txt").write_text("stray")
    (tmp_path / "dog" / "broken.png").write_bytes(b"no image")

    data = load(tmp_path)

    assert data.label_names == ("cat", "dog")
    assert data.labels.tolist() == [-1, 0, 0, 1, 1]
    assert [image is None for image in data.images(0, 5)] == [False, False, False, False, True]


def test_an_image_folder_may_be_split(tmp_path):
    image_files(tmp_path, "train/a/1.png", "train/b/2.png", "test/b/3.png")

    data = load(tmp_path)

    assert data.test is not None
    assert (data.labels.tolist(), data.test.labels.tolist(), data.test.images(0, 1)[0].size) == ([0, 1], [1], (2, 2))


def test_a_moved_image_folder_keeps_its_fingerprint(tmp_path):
    image_files(tmp_path / "here", "a/1.png", "b/2.png")
    before = load(tmp_path / "here").fingerprint

    (tmp_path / "here").rename(tmp_path / "there")

    assert load(tmp_path / "there").fingerprint == before
    image_files(tmp_path / "there", "a/0.png", "a/1.png")
    assert load(tmp_path / "there").fingerprint != before


def test_a_url_is_read_through_fsspec(tmp_path):
    write(tmp_path / "t.parquet")

    assert load(f"file://{tmp_path}/t.parquet").texts(0, 3) == ROWS["text"]


def test_a_hub_name_goes_to_the_hub_with_its_config_and_revision(monkeypatch):
    asked = []
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda *names, **options: asked.append((names, options)) or datasets.DatasetDict(train=datasets.Dataset(TABLE)),
    )

    data = load("org/name:en@v1.0")

    assert asked == [(("org/name", "en"), {"revision": "v1.0"})]
    assert data.recipe is not None and data.recipe["source"] == "org/name:en@v1.0"


def test_an_unknown_or_unreachable_hub_name_says_what_was_tried():
    with pytest.raises(InputError, match=r'"nobody/nothing" could not be loaded: no file or folder.*hub.*HF_HUB_OFFLINE'):
        load("nobody/nothing")


class Pairs(torch.utils.data.Dataset):
    """A torch dataset of what it is given."""

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "source",
    [
        (PIXELS, np.array([0, 1, 0])),
        (np.moveaxis(PIXELS, -1, 1), np.array([0, 1, 0])),
        Pairs(*((Image.fromarray(x), y) for x, y in zip(PIXELS, [0, 1, 0], strict=True))),
        Pairs(*((torch.tensor(x).permute(2, 0, 1) / 255, torch.tensor(y)) for x, y in zip(PIXELS, [0, 1, 0], strict=True))),
    ],
    ids=["numpy", "channels first", "torch of PIL", "torch of ToTensor"],
)
def test_image_arrays_are_kept_lossless(source):
    data = load(source)

    assert (data.modality, data.labels.tolist(), data.recipe) == ("image", [0, 1, 0], None)
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in data.images(0, 3)]), PIXELS)


@pytest.mark.parametrize(
    "source, modality, n",
    [
        (TABLE, "text", 3),
        (TABLE.to_pandas(), "text", 3),
        (datasets.Dataset(TABLE), "text", 3),
        (datasets.DatasetDict(train=datasets.Dataset(TABLE)), "text", 3),
        (np.zeros((4, 2), np.float32), "embedding", 4),
        ((np.zeros((4, 2)), np.array(["a", "b", "a", "b"])), "embedding", 4),
        ((np.array(["one", "two"]), np.array([0, 1])), "text", 2),
        (Pairs(("one", "x"), ("two", "y")), "text", 2),
        (Pairs((torch.zeros(3), 1), (torch.ones(3), 0)), "embedding", 2),
        (Pairs(torch.zeros(3)), "embedding", 1),
        (pd.DataFrame({"age": [1, 2], "member": [True, False], "class": pd.Categorical(["a", "b"])}), "table", 2),
        (pa.table({"t": pa.array(["a", "b"]).dictionary_encode()}), "text", 2),
    ],
    ids=["arrow", "pandas", "datasets", "dict", "X", "X y", "texts", "torch texts", "torch vectors", "torch x", "categories", "dictionary"],
)
def test_objects_load_into_their_modality(source, modality, n):
    data = load(source)

    assert (data.modality, len(data)) == (modality, n)


def test_a_polars_frame_is_read_as_its_arrow_table():
    polars = pytest.importorskip("polars")

    assert load(polars.DataFrame(ROWS)).fingerprint == load(TABLE).fingerprint


def test_a_torch_dataset_gives_its_classes_their_names():
    source = Pairs((torch.zeros(3), 1), (torch.ones(3), 0))
    source.classes = ["cat", "dog"]

    assert load(source).label_names == ("cat", "dog")


def test_a_recipe_opens_the_same_rows_again(tmp_path, monkeypatch):
    write(tmp_path / "t.csv", pa.table({"a": ["x", "y", "z"], "b": ["u", "v", "w"], "k": [1, 1, 2]}))
    monkeypatch.chdir(tmp_path)
    data = load("t.csv", input="b,a", label="k", limit=2)

    monkeypatch.chdir("/")
    again = load(**json.loads(json.dumps(data.recipe)))

    assert (again.fingerprint, again.inputs, again.label, len(again)) == (data.fingerprint, ("b", "a"), "k", 2)


def test_a_recipe_of_the_test_split_opens_it():
    data = load("sample:snips")

    assert data.test is not None and data.test.recipe is not None
    assert load(**data.test.recipe).fingerprint == data.test.fingerprint


@pytest.mark.parametrize("limit, n", [(1, 1), (3, 3), (99, 3), (None, 3)])
def test_a_limit_keeps_the_first_rows(limit, n):
    assert load(TABLE, limit=limit).texts(0, n) == ROWS["text"][:n]


def test_a_dataset_is_returned_as_it_is_or_with_other_roles():
    data = load(pa.table({"text": ["a", "b"], "other": ["c", "d"], "label": [0, 1], "kind": ["u", "v"]}))

    assert load(data) is data
    assert load(data, label="kind").label_names == ("u", "v")
    assert load(data, input="other").texts(0, 1) == ["c"]
    assert load(data, limit=1).texts(0, 1) == ["a"]


def test_a_loaded_dataset_gives_its_test_split_and_no_other():
    data = load("sample:digits")

    assert load(data, split="test") is data.test
    assert load(data, split="train") is data
    with pytest.raises(UnknownNameError, match='no split "dev", only: train, test'):
        load(data, split="dev")


def test_a_table_column_that_becomes_the_label_leaves_the_inputs():
    data = load(pa.table({"a": [1, 2], "b": [3, 4], "c": [5, 6]}))

    assert load(data, label="b").inputs == ("a", "c")


def splits(**tables):
    return datasets.DatasetDict({name: datasets.Dataset(pa.table(columns)) for name, columns in tables.items()})


def test_a_test_split_has_the_class_codes_of_the_training_split():
    data = load(splits(train=ROWS, test={"text": ["a"], "label": ["y"]}))

    assert data.test is not None
    assert (data.test.labels.tolist(), data.test.label_names) == ([1], ("x", "y"))


def test_a_limit_does_not_change_the_class_codes():
    data = load(splits(train=ROWS, test=ROWS), limit=1)

    assert data.test is not None
    assert (data.labels.tolist(), data.label_names, data.test.labels.tolist()) == ([0], ("x", "y"), [0, 1, 0])


@pytest.mark.parametrize(
    "test",
    [{"text": ["a"]}, {"text": ["a"], "label": [-1]}, {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}],
    ids=["no labels", "secret labels", "no rows"],
)
def test_a_test_split_that_cannot_test_is_none(test):
    assert load(splits(train={"text": ["a", "b"], "label": [0, 1]}, test=test)).test is None


def test_a_named_split_is_taken_and_has_no_test_split():
    data = load(splits(train=ROWS, test=TABLE.slice(1).to_pydict()), split="test")

    assert (len(data), data.test) == (2, None)


def test_a_lone_split_is_taken_whatever_its_name():
    assert len(load(splits(everything=ROWS))) == 3


@pytest.mark.parametrize(
    "split, error, message",
    [(None, InputError, "splits a, b and none called train.*--split"), ("c", UnknownNameError, 'no split "c".*It has: a, b')],
    ids=["several", "unknown"],
)
def test_a_split_that_is_not_there_is_an_error_that_names_those_that_are(split, error, message):
    with pytest.raises(error, match=message):
        load(splits(a=ROWS, b=ROWS), split=split)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_an_error(limit):
    with pytest.raises(OptionError, match=f"limit must be 1 or more, got {limit}"):
        load(TABLE, limit=limit)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.csv", b"", "is empty"),
        ("t.parquet", b"", "is empty"),
        ("t.arrow", b"", "is empty"),
        ("t.parquet", b"PAR1 cut short", "Cannot read .*as parquet"),
        ("t.arrow", b"ARROW1 cut short", "Cannot read .*as arrow"),
        ("t.csv", b"text,label\ngood,1\ncaf\xe9,2\n", "not UTF-8: byte 0xe9 in line 3.*iconv"),
        ("t.csv", b"text,label\na,1\nb,2,3\n", "Expected 2 fields in line 3, saw 3"),
        ("t.csv", b"text,label\na,1,2\nb,2,3\n", "2 column names and 3 fields"),
        ("t.csv", b"text,label\n", "has no rows"),
        ("t.jsonl", b'{"text": "a"}\n{"text": \n', "no valid JSON in line 2"),
        ("t.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "not UTF-8: byte 0xff in line 2"),
        ("t.json", b"[1, 2", "Cannot read .*as json"),
        ("t.csv", b"text;label\na;1\n", 'looks separated by ";"'),
        ("t.csv", b"a|b|label\n1|2|0\n", r'looks separated by "\\|"'),
        ("t.tsv", b"a,b,label\n1,2,0\n", 'looks separated by ","'),
        ("t.csv", "text,label\nä,1\n".encode("utf-16"), "not UTF-8: byte 0xf[ef] in line 1.*iconv -f utf-16"),
        ("t.csv.gz", b"text,label\n\xe9,1\n", "Cannot read .*as csv"),
        ("t.docx", b"a", 'ending is ".docx", and parquet'),
    ],
    ids=str,
)
def test_a_damaged_file_is_an_error_that_names_it_and_what_is_wrong(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=message) as failed:
        load(tmp_path / name)
    assert name in str(failed.value)


def test_a_column_that_datasets_cannot_hold_is_named(tmp_path):
    links = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))
    pq.write_table(pa.table({"text": ["a"], "links": links}), tmp_path / "t.parquet")

    with pytest.raises(InputError, match=r'Column "links" of .*t.parquet" is map<.*drop the column'):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "other, message",
    [
        ({"text": ["b"], "label": [1], "z": [1]}, '"z" is int64 instead of missing'),
        ({"text": ["b"], "label": ["one"]}, '"label" is string instead of int64'),
    ],
    ids=["one more", "another type"],
)
def test_of_files_with_unlike_columns_the_odd_one_is_named(tmp_path, other, message):
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table(other), tmp_path / "b.parquet")

    with pytest.raises(InputError, match=f'b.parquet" has other columns than .*a.parquet": {message}'):
        load(tmp_path)


@pytest.mark.parametrize("column", ["text", "label"])
def test_a_role_in_which_texts_and_numbers_are_mixed_is_an_error(tmp_path, column):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"} | {column: 5}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))

    with pytest.raises(ColumnError, match=f'"{column}" holds values of several types'):
        load(tmp_path / "t.jsonl")


def test_a_column_of_mixed_values_without_a_role_is_let_be(tmp_path):
    rows = [{"text": "a", "label": "x", "note": 5}, {"text": "b", "label": "y", "note": [1]}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))

    assert load(tmp_path / "t.jsonl").texts(0, 2) == ["a", "b"]


def test_what_is_packed_by_a_package_that_is_missing_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    (tmp_path / "t.jsonl.zst").write_bytes(b"(\xb5/\xfd")

    with pytest.raises(MissingExtraError, match="needs zstandard"):
        load(tmp_path / "t.jsonl.zst")


def test_a_folder_of_several_kinds_of_files_passes_none_over_in_silence(tmp_path, caplog):
    for name in ("a.csv", "b.csv"):
        write(tmp_path / name)
    write(tmp_path / "c.parquet")

    load(tmp_path)

    assert "the 2 .csv files are read, and these are passed over: c.parquet" in caplog.text
    write(tmp_path / "d.parquet")
    with pytest.raises(InputError, match=r"as many .parquet as .csv files"):
        load(tmp_path)


def test_data_without_a_name_is_no_folder():
    with pytest.raises(OptionError, match="DATA is empty"):
        load("")


@pytest.mark.parametrize("keep", [0.3, 0.9])
@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, name, keep):
    content = write(tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * keep)])

    with pytest.raises(InputError, match=name):
        load(tmp_path / name)


def duplicated(kind, folder):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    if kind == "csv":
        (folder / "t.csv").write_text("text,text\na,b\n")
    elif kind == "parquet":
        pq.write_table(table, folder / "t.parquet")
    elif kind == "arrow":
        with pa.ipc.new_file(str(folder / "t.arrow"), table.schema) as out:
            out.write_table(table)
    return {"table": table, "pandas": table.to_pandas()}.get(kind, folder / f"t.{kind}")


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "table", "pandas"])
def test_two_columns_of_one_name_are_an_error(tmp_path, kind):
    with pytest.raises(ColumnError, match='more than one column "text"'):
        load(duplicated(kind, tmp_path))


@pytest.mark.parametrize(
    "name, message",
    [
        ("train.parqet", 'was not found.*Did you mean "train.parquet"'),
        ("absent/train.parquet", "does not exist either"),
        ("*.csv", "No file matches"),
        ("t*", "several kinds"),
        ("empty", "holds no data"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error_with_a_hint(tmp_path, name, message):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.csv" if name == "t*" else tmp_path / "other.json")
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError, match=message):
        load(tmp_path / name)


def test_a_folder_in_which_some_files_bear_no_split_is_an_error(tmp_path):
    for name in ("train.csv", "more.csv"):
        write(tmp_path / name)

    with pytest.raises(InputError, match=r"more\.csv.*bears no split"):
        load(tmp_path)


@pytest.mark.parametrize(
    "source, message",
    [
        (3, "type int; a path, a hub name"),
        ([1, 2], "type list"),
        ({"text": ["a"]}, "type dict"),
        (np.zeros((0, 3)), "has no rows"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.random.default_rng(0).normal(size=(2, 4, 4)), "not pixels.*Normalize"),
        (np.zeros((2, 9, 4, 9), np.uint8), "no axis of 1 to 4 channels"),
        ((np.zeros((3, 2)), np.zeros(2)), "X has 3 rows"),
        (Pairs(), "has no rows"),
        (Pairs((1, 2, 3)), "Rows of Pairs are tuples"),
        (Pairs((torch.zeros(2), 0), (torch.zeros(3), 0)), "different shapes"),
        (Pairs((Image.new("F", (2, 2)), 0)), 'mode "F"'),
        (pd.DataFrame({"a": ["x", 3]}), "Cannot read .*DataFrame"),
        (pa.table({"text": pa.array([], pa.string())}), "has no rows"),
        (datasets.Dataset(TABLE).to_iterable_dataset(), "type IterableDataset"),
    ],
    ids=[
        "int",
        "list",
        "dict",
        "0 rows",
        "1-D",
        "floats",
        "channels",
        "lengths",
        "empty",
        "triples",
        "shapes",
        "mode",
        "mixed",
        "0 rows arrow",
        "stream",
    ],
)
def test_an_object_that_cannot_be_loaded_is_an_error_that_says_what_can(source, message):
    with pytest.raises(InputError, match=message):
        load(source)


def test_one_row_is_enough():
    assert len(load(TABLE.slice(0, 1))) == 1


def test_a_missing_column_is_an_error_before_anything_is_read():
    with pytest.raises(ColumnError, match=r'No column "labl". Did you mean "label"'):
        load(TABLE, label="labl")


def test_loading_leaves_bars_and_log_level_as_they_were(tmp_path, capfd):
    datasets.enable_progress_bars()
    level = datasets.utils.logging.get_verbosity()

    load(write(tmp_path / "t.csv"))

    assert capfd.readouterr() == ("", "")
    assert not datasets.are_progress_bars_disabled() and datasets.utils.logging.get_verbosity() == level


def test_a_parquet_file_with_an_empty_row_group_has_no_rows(tmp_path):
    pq.write_table(TABLE.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="has no rows"):
        load(tmp_path / "empty.parquet")


def test_reading_keeps_the_hubs_client_from_logging_its_retries():
    import logging

    from curate.reading import quiet

    client = logging.getLogger("huggingface_hub.utils._http")
    before = client.getEffectiveLevel()
    with quiet():
        assert not client.isEnabledFor(logging.WARNING)
    assert client.getEffectiveLevel() == before
