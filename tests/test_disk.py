import errno
import json
import os

import pytest
from safetensors import SafetensorError

from curate import disk
from curate.disk import checksum, write_json, write_whole
from curate.errors import DoesNotFitError, InputError


def refusing(code):
    def refuse(*_args, **_options):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_file_is_written_under_its_name_and_no_temporary_one_stays(tmp_path):
    write_whole(tmp_path / "deep" / "file", lambda path: path.write_bytes(b"abc"))

    assert (tmp_path / "deep" / "file").read_bytes() == b"abc"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_writer_that_fails_half_way_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")

    def cut_short(path):
        path.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", cut_short)

    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_json_is_sorted_so_that_equal_values_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"b": 1, "a": ["ä"]})
    write_json(tmp_path / "b", {"a": ["ä"], "b": 1})

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8")) == {"a": ["ä"], "b": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "xxh3:99aa06d3014798d86001c324468d497f"), (b"a", "xxh3:a96faf705af16834e6c632b61e964e1f")],
    ids=["empty", "a"],
)
def test_a_checksum_is_xxh3_of_128_bits(tmp_path, content, expected):
    (tmp_path / "file").write_bytes(content)

    assert checksum(tmp_path / "file") == expected


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the always-full device is Linux's")
def test_a_full_disk_is_said_to_be_full(tmp_path):
    def write(_path):
        with open("/dev/full", "wb") as file:
            file.write(b"x")

    with pytest.raises(DoesNotFitError, match=r"disk is full: could not write .*shard.*run the same command again"):
        write_whole(tmp_path / "shard", write)


def test_a_disk_that_is_full_of_weights_is_said_to_be_full(tmp_path):
    def write(_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(DoesNotFitError, match="disk is full"):
        write_whole(tmp_path / "weights", write)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=["no space", "over quota"])
def test_a_disk_that_fills_up_while_flushing_leaves_the_old_file(tmp_path, monkeypatch, call, code):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(disk.os, call, refusing(code))

    with pytest.raises(DoesNotFitError, match="disk is full"):
        write_whole(tmp_path / "file", lambda path: path.write_bytes(b"new"))

    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS], ids=["access", "permission", "read-only"])
def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch, code):
    monkeypatch.setattr(disk.os, "replace", refusing(code))

    with pytest.raises(InputError, match=r"May not write .*file.*--out"):
        write_whole(tmp_path / "file", lambda path: path.write_bytes(b"new"))


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path):
    with pytest.raises(InputError, match=r"Cannot make .*too long.*Point --out"):
        write_json(tmp_path / ("x" * 300) / "file", 1)


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(InputError, match="a file is where a folder is needed"):
        write_whole(tmp_path / "file" / "shard", lambda path: path.write_bytes(b"new"))


def test_other_failures_of_the_system_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.os, "replace", refusing(errno.EIO))

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_whole(tmp_path / "file", lambda path: path.write_bytes(b"new"))
