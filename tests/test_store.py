import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.disk import checksum
from curate.errors import ColumnError, DamagedStoreError, InputError, OtherJobError
from curate.store import Store, default_shard_rows, differences, refuse_foreign, remove, shard_name, shard_ranges, write_arrow, writing

COMMITTED = Path(__file__).parent / "stores"
DATASET = {"fingerprint": "00ff", "rows": 3, "schema": {"x": "int64"}}


def tiny(first=0):
    """Three rows of a score, the second without one."""
    return pa.table(
        {
            "row": pa.array([first, first + 1, first + 2], pa.int64()),
            "score": pa.array([0.5, None, -1.0], pa.float32()),
            "status": pa.array([None, "empty_text", None], pa.string()),
        }
    )


def tiny_store(folder, shards=1):
    store = Store.create(folder, "scores", dataset=DATASET, job={"seeds": [0], "run": None}, settled={"shard_rows": 3})
    store.describe("aum", {"method": "aum", "options": {"skip": 1}})
    for index in range(shards):
        store.add_shard("aum", shard_name(index), tiny(3 * index), first=3 * index, failed={"empty_text": 1})
    return store


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


DAMAGES = {"missing": "missing", "cut short": "bytes instead of", "one bit": "checksum differs"}


def test_the_bytes_of_a_manifest_are_pinned(tmp_path):
    tiny_store(tmp_path / "store")

    assert (tmp_path / "store" / "manifest.json").read_bytes() == (COMMITTED / "v1" / "manifest.json").read_bytes()
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["format"] == 1


def test_the_bytes_of_a_shard_are_pinned(tmp_path):
    tiny_store(tmp_path / "store")

    shard = tmp_path / "store" / "aum" / "part-00000.arrow"

    assert shard.read_bytes() == (COMMITTED / "v1" / "aum" / "part-00000.arrow").read_bytes()


@pytest.mark.parametrize("version", sorted(p.name for p in COMMITTED.iterdir()))
def test_a_store_of_every_version_so_far_still_reads(version):
    store = Store.open(COMMITTED / version)

    assert (store.kind, store.dataset, store.job, store.settled) == ("scores", DATASET, {"seeds": [0], "run": None}, {"shard_rows": 3})
    assert store.tables == ["aum"] and store.about("aum") == {"method": "aum", "options": {"skip": 1}}
    assert store.files("aum")[0].failed == {"empty_text": 1}
    assert store.read("aum").equals(tiny())
    assert store.faults() == []


def test_a_null_score_is_nan_in_memory(tmp_path):
    np.testing.assert_array_equal(tiny_store(tmp_path / "store").column("aum", "score"), np.float32([0.5, np.nan, -1.0]))


def test_shards_are_read_in_row_order(tmp_path):
    store = tiny_store(tmp_path / "store", shards=3)

    np.testing.assert_array_equal(Store.open(store.path).column("aum", "row"), np.arange(9))


def test_a_column_of_one_shard_is_a_view_of_the_mapped_file(tmp_path):
    store = tiny_store(tmp_path / "store")
    chunk = store.read("aum").column("row").chunk(0)
    allocated = pa.total_allocated_bytes()

    rows = store.column("aum", "row")

    assert not rows.flags.owndata and not rows.flags.writeable
    assert rows.nbytes == 24 and chunk.buffers()[1].size >= 24
    assert pa.total_allocated_bytes() == allocated


def test_a_shard_is_one_record_batch_however_its_table_was_chunked(tmp_path):
    write_arrow(tmp_path / "part.arrow", pa.concat_tables([tiny(), tiny(3)]))

    with pa.memory_map(str(tmp_path / "part.arrow")) as file:
        assert pa.ipc.open_file(file).num_record_batches == 1


def test_pyarrow_polars_and_datasets_open_a_shard_as_it_is(tmp_path):
    import datasets

    polars = pytest.importorskip("polars")
    shard = str(tiny_store(tmp_path / "store").path / "aum" / "part-00000.arrow")

    with pa.memory_map(shard) as file:
        assert pa.ipc.open_file(file).read_all().equals(tiny())
    assert polars.read_ipc(shard).to_dict(as_series=False) == tiny().to_pydict()
    assert datasets.load_dataset("arrow", data_files=shard, split="train").to_dict() == tiny().to_pydict()


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_shard_is_named(tmp_path, how):
    store = tiny_store(tmp_path / "store", shards=2)
    damage(store.path / "aum" / "part-00001.arrow", how)

    (fault,) = store.faults()

    assert fault.file == "aum/part-00001.arrow" and DAMAGES[how] in fault.problem
    with pytest.raises(DamagedStoreError, match=r"aum/part-00001\.arrow.*damaged.*recomputes only these"):
        store.require_whole(["aum"])


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_shard_is_struck_so_that_it_is_made_again(tmp_path, how):
    store = tiny_store(tmp_path / "store", shards=2)
    whole = (store.path / "manifest.json").read_bytes()
    damage(store.path / "aum" / "part-00001.arrow", how)

    store.drop_damaged()

    assert [entry.file for entry in Store.open(store.path).files("aum")] == ["part-00000.arrow"]
    store.add_shard("aum", "part-00001.arrow", tiny(3), first=3, failed={"empty_text": 1})
    assert (store.path / "manifest.json").read_bytes() == whole


def test_a_shard_that_is_no_arrow_file_does_not_open(tmp_path):
    store = tiny_store(tmp_path / "store")
    (store.path / "aum" / "part-00000.arrow").write_bytes(b"no arrow")

    with pytest.raises(DamagedStoreError, match=r"part-00000\.arrow.*does not open"):
        store.read("aum")


@pytest.mark.parametrize(
    "content", [b"", b'{"format": 1, "ki', b"[]", b"null", b"{}", b"\xff\xfe", b'{"format": 1, "tables": {"a": 1}}'], ids=repr
)
def test_a_damaged_manifest_is_named_and_the_shards_stay(tmp_path, content):
    store = tiny_store(tmp_path / "store")
    (store.path / "manifest.json").write_bytes(content)

    with pytest.raises(DamagedStoreError, match=r"manifest\.json.*is damaged.*--overwrite"):
        Store.open(store.path)

    assert checksum(store.path / "aum" / "part-00000.arrow") == store.files("aum")[0].checksum


def test_every_way_to_cut_a_manifest_short_is_noticed(tmp_path):
    store = tiny_store(tmp_path / "store")
    whole = (store.path / "manifest.json").read_bytes()
    for length in range(len(whole) - 1):  # without the last newline it is whole
        (store.path / "manifest.json").write_bytes(whole[:length])

        with pytest.raises(DamagedStoreError):
            Store.open(store.path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda manifest: manifest.update(tables=[]),
        lambda manifest: manifest.update(dataset=[]),
        lambda manifest: manifest["dataset"].update(rows="three"),
        lambda manifest: manifest.update(job=7),
        lambda manifest: manifest["tables"]["aum"]["files"]["part-00000.arrow"].update(file="../../passwd"),
        lambda manifest: manifest["tables"]["aum"]["files"]["part-00000.arrow"].pop("checksum"),
    ],
    ids=["tables", "dataset", "rows", "job", "a file outside", "a file without a checksum"],
)
def test_a_manifest_that_was_edited_amiss_is_damaged(tmp_path, edit):
    store = tiny_store(tmp_path / "store")
    manifest = json.loads((store.path / "manifest.json").read_text())
    edit(manifest)
    (store.path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(DamagedStoreError, match=r"manifest\.json.*is damaged"):
        Store.open(store.path)


def test_a_store_of_a_later_version_is_refused(tmp_path):
    store = tiny_store(tmp_path / "store")
    manifest = json.loads((store.path / "manifest.json").read_text())
    (store.path / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))

    with pytest.raises(InputError, match=r"has format 2, this version reads up to 1"):
        Store.open(store.path)


def test_a_folder_without_a_manifest_is_no_store(tmp_path):
    tiny_store(tmp_path / "scores")

    with pytest.raises(InputError, match=r'scorse" is not a store: no such folder.*Did you mean "scores"'):
        Store.open(tmp_path / "scorse")


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")

    for use in (refuse_foreign, remove, lambda path: Store.create(path, "scores", dataset={}, job={}, settled={})):
        with pytest.raises(OtherJobError, match=r"holds something else \(thesis\.tex\)"):
            use(tmp_path)

    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match="is a file"):
        refuse_foreign(tmp_path / "file")


def test_overwriting_empties_a_store(tmp_path):
    store = tiny_store(tmp_path / "store")

    remove(store.path)

    assert list(store.path.iterdir()) == []
    remove(tmp_path / "nothing here")


def test_overwriting_does_not_follow_a_link_out_of_the_store(tmp_path):
    store = tiny_store(tmp_path / "store")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    (store.path / "link").symlink_to(tmp_path / "precious")

    remove(store.path)

    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_a_half_removed_store_is_removed_by_the_next_attempt(tmp_path, monkeypatch):
    store = tiny_store(tmp_path / "store")
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))  # shards are gone, then the kill
    with pytest.raises(KeyboardInterrupt):
        remove(store.path)
    monkeypatch.setattr(Path, "unlink", unlink)

    remove(store.path)

    assert list(store.path.iterdir()) == []


def test_a_table_made_otherwise_is_refused_with_what_differs(tmp_path):
    store = tiny_store(tmp_path / "store")

    with pytest.raises(OtherJobError, match=r"already has a \"aum\" made otherwise \(options\.skip: 1 there, 0 here"):
        store.describe("aum", {"method": "aum", "options": {"skip": 0}})


def test_what_came_of_a_table_is_no_difference(tmp_path):
    store = tiny_store(tmp_path / "store")
    store.conclude("aum", {"unscored": {}})

    store.describe("aum", {"method": "aum", "options": {"skip": 1}})

    assert Store.open(store.path).about("aum")["result"] == {"unscored": {}}


def test_forgotten_files_are_gone_from_manifest_and_disk(tmp_path):
    store = tiny_store(tmp_path / "store", shards=2)

    store.forget("aum", ["part-00000.arrow"])

    assert [entry.file for entry in Store.open(store.path).files("aum")] == ["part-00001.arrow"]
    assert not (store.path / "aum" / "part-00000.arrow").exists()


@pytest.mark.parametrize("wrong", [("amu", "score"), ("aum", "scor")])
def test_an_unknown_name_is_answered_with_a_known_one(tmp_path, wrong):
    with pytest.raises((InputError, ColumnError), match=r'Did you mean "(aum|score)"'):
        tiny_store(tmp_path / "store").column(*wrong)


def test_a_log_line_cut_short_by_a_kill_is_left_out_and_spoils_none_after_it(tmp_path):
    store = tiny_store(tmp_path / "store")
    store.log("score", scorer="aum", wall=1.5)
    with open(store.path / "log.jsonl", "a") as file:
        file.write('{"when": "2024-01-01T00')
    store.log("score", scorer="el2n", wall=2.5)
    store.log("score", scorer="loss", wall=3.5)

    assert [line["wall"] for line in store.history()] in ([1.5, 3.5], [1.5, 2.5, 3.5])


def test_a_store_that_another_process_writes_is_not_overwritten(tmp_path, held_elsewhere):
    store = tiny_store(tmp_path / "store")

    with held_elsewhere(store.path), pytest.raises(OtherJobError, match="Another process"), writing(store.path, overwrite=True):
        pass

    assert Store.open(store.path).faults() == []


def test_nothing_is_put_into_a_strangers_folder(tmp_path):
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(OtherJobError), writing(tmp_path):
        pass

    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(("n", "rows", "expected"), [(0, 4, []), (4, 4, [(0, 4)]), (5, 4, [(0, 4), (4, 5)])])
def test_shards_are_row_ranges(n, rows, expected):
    assert shard_ranges(n, rows) == expected


@pytest.mark.parametrize("n", [1, 65_536 * 128, 65_536 * 128 + 1, 10**8])
def test_there_are_never_many_more_than_a_hundred_shards(n):
    assert n / default_shard_rows(n) <= 128


def test_differences_name_leaves_and_stop_after_five():
    one = {"lr": 0.1, "options": {"a": 1, "b": {"c": 2}}, "arms": [{"name": "top", "rows": 3}, {"name": "old", "rows": 3}], "seeds": [0]}
    other = {"lr": 0.1, "options": {"a": 1, "b": {"c": 5}}, "arms": [{"name": "top", "rows": 4}], "seeds": [0, 1]}

    assert differences(one, one) == ""
    assert differences(one, other) == (
        "arms.old.name: old there, None here; arms.old.rows: 3 there, None here; arms.top.rows: 3 there, 4 here; "
        "options.b.c: 2 there, 5 here; seeds: [0] there, [0, 1] here"
    )
    assert differences({f"k{i}": 0 for i in range(7)}, {}).endswith("k4: 0 there, None here; and 2 more")


@pytest.mark.parametrize("read", [lambda store: store.job["model"], lambda store: store.about("aum")["keep"]], ids=["job", "table"])
def test_what_a_manifest_lacks_is_damage_that_is_named(tmp_path, read):
    store = tiny_store(tmp_path / "store")

    with pytest.raises(DamagedStoreError, match=r"manifest\.json.*says nothing of \"(model|keep)\""):
        read(store)


def test_what_a_manifest_says_goes_to_other_processes_and_equals_a_dict(tmp_path):
    job = tiny_store(tmp_path / "store").job

    assert pickle.loads(pickle.dumps(job)) == job == {"seeds": [0], "run": None}
