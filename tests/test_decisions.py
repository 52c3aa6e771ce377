"""A person's decisions: read, checked, applied."""

import datasets
import pytest

import curate
from curate.decisions import apply, read_decisions
from curate.errors import ColumnError, InputError, UsageError
from curate.stages.exporting import export
from curate.stages.selecting import everything

HEAD = "row,given,suggested,decision\n"
KINDS = {
    "classes": datasets.ClassLabel(names=["cat", "dog, big"]),
    "texts": datasets.Value("string"),
    "numbers": datasets.Value("int32"),
    "fractions": datasets.Value("float64"),
    "truths": datasets.Value("bool"),
}
NAMES = {"classes": ("cat", "dog, big"), "texts": ("a", "b"), "numbers": ("3", "7"), "fractions": ("1", "2"), "truths": ("false", "true")}
RAW = {"classes": (0, 1), "texts": ("a", "b"), "numbers": (3, 7), "fractions": (1.0, 2.0), "truths": (False, True)}


def source(kind="classes"):
    features = datasets.Features({"text": datasets.Value("string"), "label": KINDS[kind], "extra": datasets.Value("int64")})
    cells = {"text": [f"row {i}" for i in range(6)], "label": [RAW[kind][i % 2] for i in range(6)], "extra": list(range(6))}
    return curate.load(datasets.Dataset.from_dict(cells, features=features), input="text", label="label")


def review(tmp_path, *lines):
    file = tmp_path / "review.csv"
    file.write_text(HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_put_right_in_their_own_type_and_rows_dropped(tmp_path, kind):
    data = source(kind)
    one, other = (f'"{name}"' for name in NAMES[kind])
    file = review(tmp_path, f"0,{one},{other},fix", f"3,{other},{one},drop", f"5,{other},{one},keep", f"4,{one},{other},")

    folder = export(None, out=tmp_path / "out", data=data, decisions=file)

    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == data.features
    assert loaded["text"] == ["row 0", "row 1", "row 2", "row 4", "row 5"]
    low, high = RAW[kind]
    assert loaded["label"] == [high, high, low, low, high]
    assert "1 dropped, 1 relabelled, 1 kept" in (folder / "README.md").read_text(encoding="utf-8")


def test_decisions_apply_to_a_selection_and_pass_over_rows_outside_it(tmp_path):
    data = source()
    selection = curate.select(data, where="extra < 3")
    file = review(tmp_path, '0,cat,"dog, big",fix', '5,"dog, big",cat,drop', '1,"dog, big",cat,drop')

    chosen = apply(read_decisions(file, data), selection)

    assert chosen.rows.tolist() == [0, 2]
    assert sorted(chosen.order.tolist()) == [0, 1]
    assert chosen.dataset()["label"] == [1, 0]


@pytest.mark.parametrize("format", ["arrow", "jsonl", "ids"])
def test_every_format_takes_decisions(tmp_path, format):
    file = review(tmp_path, '0,cat,"dog, big",fix', '1,"dog, big",cat,drop')

    folder = export(None, out=tmp_path / "out", data=source(), decisions=file, format=format)

    if format == "ids":
        assert (folder / "ids.txt").read_text().split() == ["0", "2", "3", "4", "5"]
    else:
        loaded = (
            datasets.load_from_disk(str(folder))
            if format == "arrow"
            else datasets.Dataset.from_json(str(folder / "train.jsonl"), cache_dir=str(tmp_path / "cache"))
        )
        assert loaded["label"] == [1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("6,cat,cat,drop", r"row 6; the dataset has rows 0 … 5"),
        ("-1,cat,cat,drop", r"row -1"),
        ("x,cat,cat,drop", r'row "x"; a whole number'),
        ('0,"dog, big",cat,fix', r'labelled "dog, big", but it is "cat"'),
        ("0,cat,cot,fix", r'label "cot", which no class has. Did you mean "cat"'),
        ("0,cat,,fix", r'label "", which no class has'),
        ("0,cat,cat,remove", r'decides "remove"; fix, drop or keep'),
        ("0,cat,cat,keep\n0,cat,cat,drop", r"decides on row 0 once more; line 2 has already"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read_decisions(review(tmp_path, line), source())


def test_files_that_are_no_decisions_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("row,label\n1,cat\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00row")

    with pytest.raises(InputError, match="does not exist"):
        read_decisions(tmp_path / "none.csv", source())
    with pytest.raises(ColumnError, match="has the columns row, label"):
        read_decisions(tmp_path / "other.csv", source())
    with pytest.raises(InputError, match="does not read as csv"):
        read_decisions(tmp_path / "binary.csv", source())


def test_decisions_that_drop_everything_are_refused(tmp_path):
    data = source()
    lines = [f"{row},{'cat' if row % 2 == 0 else chr(34) + 'dog, big' + chr(34)},cat,drop" for row in range(6)]

    with pytest.raises(InputError, match="drop every row"):
        apply(read_decisions(review(tmp_path, *lines), data), everything(data))


def test_decisions_need_the_source(tmp_path):
    curate.select(source(), where="extra < 3", out=tmp_path / "subset")

    with pytest.raises(UsageError, match="--data DATA"):
        export(tmp_path / "subset", out=tmp_path / "out", decisions=review(tmp_path, "0,cat,cat,drop"))
    with pytest.raises(UsageError, match="Nothing is named to export"):
        export(None, out=tmp_path / "out")
