import errno
import os

import pytest

from curate import locks
from curate.errors import InputError, OtherJobError
from curate.locks import LOCK, locked


def test_a_folder_is_made_and_can_be_locked_again_afterwards(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "new"):
            assert (tmp_path / "new" / LOCK).exists()


def test_a_second_process_is_refused(tmp_path, held_elsewhere):
    with held_elsewhere(tmp_path), pytest.raises(OtherJobError, match=rf'Another process is writing in "{tmp_path}"'), locked(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path, held_elsewhere):
    with held_elsewhere(tmp_path) as other:
        other.kill()
        other.wait()

        with locked(tmp_path):
            pass


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(locks.Path, "mkdir", refuse)

    with pytest.raises(InputError, match=r"May not write .*--out"), locked(tmp_path / "new"):
        pass
