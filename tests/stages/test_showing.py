import pytest
from click.testing import CliRunner

from curate.commands.showing import show
from curate.errors import InputError
from curate.stages import showing
from curate.store import Store


def store_of(kind, folder, **about):
    return Store.create(folder, kind, dataset={"rows": 3, "fingerprint": "f" * 32}, job=about, settled={})


def shown(folder):
    done = CliRunner().invoke(show, [str(folder)])
    assert done.exit_code == 0, done.exception
    return done.output


def test_a_bench_that_was_interrupted_shows_what_is_there(tmp_path):
    store_of("bench", tmp_path / "b", hardness={"uniform": 0.2}, seeds=[0])

    assert "AUROC of what was planted" in shown(tmp_path / "b")


def test_a_store_without_a_summary_of_its_own_says_its_kind_and_its_files(tmp_path):
    store = store_of("experts", tmp_path / "e")
    assert shown(store.path) == f"{store.path}: experts, no file yet\n"

    store.describe("weights", {})
    store.add_file("weights", "epoch-1", lambda path: path.write_bytes(b"w"))

    assert shown(store.path) == f"{store.path}: experts, 1 files of weights\n"


@pytest.mark.parametrize("kind", ["selection", "audit"])
def test_what_is_not_finished_says_so(tmp_path, kind):
    store_of(kind, tmp_path / "s")

    with pytest.raises(InputError, match=r"is not finished. Run its command again"):
        showing.describe(tmp_path / "s")
