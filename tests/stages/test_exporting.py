import io
import json
import os

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import curate
from curate import disk
from curate.errors import InputError, OptionError, OtherDatasetError, OtherJobError
from curate.selection import Selection
from curate.stages import exporting
from curate.stages.exporting import export

FEATURES = datasets.Features(
    {"text": datasets.Value("string"), "key": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])}
)


def table(n=20):
    cells = {"text": [f"row {i} ä" for i in range(n)], "key": [f"k{i}" for i in range(n)], "label": [i % 2 for i in range(n)]}
    return datasets.Dataset.from_dict(cells, features=FEATURES)


def chosen(data=None, **options):
    data = data if data is not None else curate.load(table(), input="text", label="label", id="key")
    return curate.select(data, **{"sampler": "random", "budget": 8, **options})


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


def reloaded(folder):
    """What the hub's own library makes of a folder, with a cache of its own: it takes folders of one name for the same."""
    return datasets.load_dataset(str(folder), split="train", cache_dir=str(folder.parent / f"{folder.name}-cache"))


@pytest.fixture
def subset(tmp_path):
    chosen(out=tmp_path / "subset")
    return tmp_path / "subset"


def test_a_parquet_folder_loads_as_it_is_with_its_features(subset):
    loaded = reloaded(subset)

    rows = Selection.open(subset).rows
    assert loaded.features == FEATURES and loaded.to_dict() == table().select(rows).to_dict()


def test_images_and_class_names_survive(tmp_path):
    selection = chosen(curate.load("sample:digits", limit=30), out=tmp_path / "subset")

    loaded = reloaded(tmp_path / "subset")

    source = curate.load("sample:digits", limit=30).table
    assert loaded.features == source.features
    for row, picked in zip(selection.rows, loaded, strict=True):
        np.testing.assert_array_equal(np.asarray(picked["image"]), np.asarray(source[int(row)]["image"]))


def test_images_that_lie_in_files_are_taken_along(tmp_path):
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(tmp_path / "images" / label / f"{i}.png")
    chosen(curate.load(tmp_path / "images"), out=tmp_path / "subset", budget=4)

    for file in (tmp_path / "images").rglob("*.png"):
        file.unlink()

    loaded = reloaded(tmp_path / "subset")
    assert [picture.size for picture in loaded["image"]] == [(4, 4)] * 4
    cells = pq.read_table(next((tmp_path / "subset" / "data").iterdir())).column("image").to_pylist()
    assert all(os.sep not in cell["path"] for cell in cells)


def test_arrow_is_what_save_to_disk_writes(subset, tmp_path):
    export(subset, out=tmp_path / "out", format="arrow")

    loaded = datasets.load_from_disk(str(tmp_path / "out"))

    assert loaded.features == FEATURES and loaded.to_dict() == Selection.open(subset).dataset().to_dict()


def test_jsonl_is_one_object_a_line_and_loads_by_its_card(subset, tmp_path):
    export(subset, out=tmp_path / "out", format="jsonl")

    lines = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()]

    assert lines == Selection.open(subset).dataset().to_list()
    assert reloaded(tmp_path / "out").to_list() == lines


def test_ids_are_the_users_own_or_else_row_numbers(subset, tmp_path):
    export(subset, out=tmp_path / "own", format="ids")
    export(chosen(curate.load(table(), input="text", label="label")), out=tmp_path / "rows", format="ids")

    rows = Selection.open(subset).rows.tolist()
    assert (tmp_path / "own" / "ids.txt").read_text().split() == [f"k{row}" for row in rows]
    assert (tmp_path / "rows" / "ids.txt").read_text().split() == [str(row) for row in rows]


def test_rows_alone_are_completed_from_the_source(subset, tmp_path):
    chosen(out=tmp_path / "bare", rows_only=True)
    assert not (tmp_path / "bare" / "data").exists()
    with pytest.raises(InputError, match=r"holds rows only \(--rows-only\).*--data DATA"):
        export(tmp_path / "bare", out=tmp_path / "out")

    export(tmp_path / "bare", out=tmp_path / "out", data=curate.load(table(), input="text", label="label", id="key"))

    assert reloaded(tmp_path / "out").to_dict() == Selection.open(subset).dataset().to_dict()


def test_another_source_is_refused(subset, tmp_path):
    with pytest.raises(OtherDatasetError, match=r"20 rows.*10 rows"):
        export(subset, out=tmp_path / "out", data=curate.load(table(10), input="text", label="label", id="key"))


@pytest.mark.parametrize("format", ["parquet", "arrow", "jsonl"])
def test_scores_go_along_as_columns(tmp_path, format):
    data = curate.load(table(), input="text", label="label")
    scores = curate.score(data, ["random"], out=tmp_path / "scores")
    selection = chosen(data)

    export(selection, out=tmp_path / "out", format=format, scores=tmp_path / "scores")

    loaded = datasets.load_from_disk(str(tmp_path / "out")) if format == "arrow" else reloaded(tmp_path / "out")
    np.testing.assert_allclose(loaded["score.random"], scores["random"][selection.rows], rtol=1e-6)


def test_scores_of_another_dataset_are_refused(subset, tmp_path):
    curate.score(curate.load(table(10)), ["random"], out=tmp_path / "scores")

    with pytest.raises(InputError, match="of another dataset than the selection"):
        export(subset, out=tmp_path / "out", scores=tmp_path / "scores")


@pytest.mark.parametrize("format", ["parquet", "arrow", "jsonl", "ids"])
def test_the_same_export_again_changes_nothing(subset, tmp_path, format):
    export(subset, out=tmp_path / "out", format=format)
    before = files(tmp_path / "out")

    export(subset, out=tmp_path / "out", format=format)

    assert files(tmp_path / "out") == before


class Killed(BaseException):
    pass


@pytest.mark.parametrize("format", ["parquet", "arrow", "jsonl", "ids"])
def test_an_export_killed_at_any_write_is_completed_by_the_same_call(subset, tmp_path, monkeypatch, format):
    export(subset, out=tmp_path / "whole", format=format)
    replace = os.replace
    for after in range(20):
        calls = []

        def dying(source, target, calls=calls, after=after):
            calls.append(source)
            if len(calls) > after:
                raise Killed
            replace(source, target)

        out = tmp_path / f"killed{after}"
        with monkeypatch.context() as patch:
            patch.setattr(disk.os, "replace", dying)
            try:
                export(subset, out=out, format=format)
            except Killed:
                pass
            else:
                break

        export(subset, out=out, format=format)

        assert set(files(out)) == set(files(tmp_path / "whole")), after
    assert after > 3


def test_overwriting_replaces_an_export_of_any_format(subset, tmp_path):
    for format in ("jsonl", "ids", "arrow", "parquet", "jsonl"):
        export(subset, out=tmp_path / "out", format=format, overwrite=True)

    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".lock", "README.md", "manifest.json", "selection.arrow", "train.jsonl"]


def test_another_export_into_the_same_folder_is_refused(subset, tmp_path):
    export(subset, out=tmp_path / "out", format="ids")

    with pytest.raises(OtherJobError, match="format: ids there, jsonl here"):
        export(subset, out=tmp_path / "out", format="jsonl")


def test_a_foreign_folder_is_refused(subset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")

    for format in ("parquet", "ids"):
        with pytest.raises(OtherJobError, match="thesis"):
            export(subset, out=tmp_path / "out", format=format, overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "parket"}, 'No format "parket". Did you mean "parquet"'),
        ({"format": "jsonl", "push_to_hub": "org/name"}, "uploads parquet"),
        ({"push_to_hub": "name"}, "takes ORG/NAME"),
    ],
)
def test_what_cannot_be_exported_is_refused(subset, tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        export(subset, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_selection_is_not_exported_into_itself(subset):
    with pytest.raises(OptionError, match="own folder"):
        export(subset, out=subset)


def test_images_do_not_go_into_jsonl(tmp_path):
    with pytest.raises(OptionError, match='Column "image" holds images, which jsonl cannot'):
        export(chosen(curate.load("sample:digits", limit=12)), out=tmp_path / "out", format="jsonl")


def test_a_damaged_selection_is_not_exported(subset, tmp_path):
    (subset / "selection.arrow").write_bytes(b"")

    with pytest.raises(InputError, match=r"selection\.arrow.*is damaged"):
        export(subset, out=tmp_path / "out")


def test_a_large_set_goes_into_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "FILE_BYTES", 100)

    chosen(out=tmp_path / "subset")

    names = sorted(p.name for p in (tmp_path / "subset" / "data").iterdir())
    assert len(names) > 2 and names[0] == f"train-00000-of-{len(names):05d}.parquet"
    assert len(reloaded(tmp_path / "subset")) == 8


# --- the card


def test_the_card_says_where_the_rows_come_from_and_keeps_the_command(subset, tmp_path):
    data = curate.load(table(), input="text", label="label")
    chosen(data, out=tmp_path / "card", command="curate select x --out card")
    export(tmp_path / "card", out=tmp_path / "again", format="jsonl")

    for name in ("card", "again"):
        text = (tmp_path / name / "README.md").read_text(encoding="utf-8")
        assert data.fingerprint in text and "curate select x --out card" in text and "8 of 20 rows" in text


HOSTILE = [
    "| a | b |",
    "<script>alert(1)</script>",
    "`x`",
    "---\nlicense: mit\n---",
    "[link](javascript:x)",
    "![i](http://x/y.png)",
    "# head",
    "*b*",
    "&lt;",
]


def test_hostile_class_names_stay_text(tmp_path):
    labels = HOSTILE * 3
    data = curate.load(pa.table({"text": [f"t{i}" for i in range(len(labels))], "label": labels}))

    chosen(data, out=tmp_path / "subset", budget=len(labels), command="curate select ```\n<b>")

    text = (tmp_path / "subset" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert set(head) == {"configs", "size_categories", "tags"}
    assert "<script" not in text and "](javascript" not in text and "![i](" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.endswith("100.0% |")]
    assert len(rows) == len(HOSTILE)


def test_a_hostile_condition_stays_in_its_cell(tmp_path):
    data = curate.load(table(), input="text", label="label")
    chosen(data, out=tmp_path / "subset", budget=2, where='label == "a" or label == "`|<b>`"')

    (line,) = [line for line in (tmp_path / "subset" / "README.md").read_text().splitlines() if line.startswith("| where")]

    assert line.replace("\\|", "").count("|") == 3 and "<b>" not in line


# --- the hub


class Hub:
    """Stands in for the hub's client and keeps what it was told."""

    calls: list = []
    error: Exception | None = None

    def create_repo(self, repo_id, **options):
        if self.error:
            raise self.error
        self.calls.append(("create", repo_id, options))

    def upload_folder(self, *, repo_id, folder_path, **options):
        names = sorted(name for name in files(exporting.Path(folder_path)))
        self.calls.append(("upload", repo_id, names, options))


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [])
    monkeypatch.setattr(Hub, "error", None)
    return Hub


def test_a_folder_is_pushed_as_a_private_dataset(subset, tmp_path, hub):
    export(subset, out=tmp_path / "out", push_to_hub="org/name")

    (_, repository, created), (_, uploaded, names, options) = hub.calls
    assert repository == uploaded == "org/name"
    assert created["repo_type"] == options["repo_type"] == "dataset" and created["private"] is True
    assert "data/train-00000-of-00001.parquet" in names and "README.md" in names and ".lock" in options["ignore_patterns"]


def test_a_push_that_fails_leaves_a_whole_folder_and_says_so(subset, tmp_path, hub, monkeypatch):
    monkeypatch.setattr(hub, "error", OSError("no route\nto host"))

    with pytest.raises(InputError, match=r'Could not push to "org/name": no route The folder .* is whole'):
        export(subset, out=tmp_path / "out", push_to_hub="org/name")

    assert len(reloaded(tmp_path / "out")) == 8


def test_an_image_column_reads_back_as_the_same_bytes(tmp_path):
    picture = io.BytesIO()
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(picture, "PNG")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    cells = pa.array([{"bytes": picture.getvalue(), "path": None}] * 4, features.arrow_schema.field(0).type)
    data = curate.load(datasets.Dataset(pa.table({"image": cells, "label": [0, 1, 0, 1]}, schema=features.arrow_schema)))

    chosen(data, out=tmp_path / "subset", budget=2)

    stored = pq.read_table(next((tmp_path / "subset" / "data").iterdir())).column("image").to_pylist()
    assert [cell["bytes"] for cell in stored] == [picture.getvalue()] * 2
