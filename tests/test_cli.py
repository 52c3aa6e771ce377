"""The command as users run it: in a process of its own where the exit code, the streams or the imports matter."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import curate
from curate import cli, terminal
from curate.plugins import methods

ENTRY = [sys.executable, "-c", "from curate.cli import main; main()"]
HEAVY = ("torch", "datasets", "numpy", "pyarrow", "sklearn", "scipy", "matplotlib", "transformers", "PIL")


def run(*arguments, **options):
    """The exit code and both streams of `curate …`, in this process, as `main` maps them."""
    runner = CliRunner()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        patch.setattr(cli.signal, "signal", lambda *_: None)
        with runner.isolation() as (out, err, _):
            try:
                cli.main()
            except SystemExit as stop:
                return int(stop.code or 0), out.getvalue().decode(), err.getvalue().decode()
    raise AssertionError("main always exits")


def done(*arguments):
    """What a command that succeeds prints."""
    code, out, err = run(*arguments)
    assert code == 0, err
    return out


def apart(*arguments, path=(), **environment):
    """The same in a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*ENTRY, *map(str, arguments)], env=env | environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    code, out, err = run(
        "score", "sample:digits", "--limit", 120, "--scorer", "aum", "--scorer", "datamap", "--epochs", 4, "--out", folder / "s"
    )
    assert code == 0, err
    return folder / "s", out


@pytest.fixture
def store(scored, tmp_path):
    shutil.copytree(scored[0], tmp_path / "s")
    return tmp_path / "s"


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Files with something wrong in each."""
    folder = tmp_path_factory.mktemp("bad")
    rng = np.random.default_rng(0)
    for name, columns in {
        "one-class": {"x": rng.normal(size=8), "label": ["a"] * 8},
        "gaps": {"x": [None] * 4 + rng.normal(size=8).tolist(), "label": ["a", "b"] * 6},
        "good": {"x": rng.normal(size=8), "label": ["a", "b"] * 4},
        "text": {"text": [f"t {i}" for i in range(8)], "label": ["a", "b"] * 4},
    }.items():
        datasets.Dataset(pa.table(columns)).to_parquet(folder / f"{name}.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1 no more")
    return folder


# --- success


def test_score_says_what_came_of_it_and_what_to_do_next(scored):
    _, out = scored

    assert re.search(r"^aum +high +low ", out, re.M) and re.search(r"^datamap ", out, re.M)
    assert f"--scores {scored[0]} " in out and "next: curate select" in out


def test_after_a_search_for_copies_comes_a_filter(bad, tmp_path):
    code, out, _ = run("score", bad / "text.parquet", "--scorer", "exact_duplicates", "--out", tmp_path / "s")

    assert code == 0
    assert """--where "not exact_duplicates.is_duplicate" --out subset""" in out and "--by" not in out


def test_select_export_show_verify_and_map(store, tmp_path):
    select = ("select", "sample:digits", "--limit", 120, "--scores", store, "--sampler", "top", "--by", "aum", "--budget", "25%")

    assert "kept 30 of 120 rows" in done(*select, "--out", tmp_path / "subset")
    assert run("export", tmp_path / "subset", "--format", "ids", "--out", tmp_path / "ids")[0] == 0
    assert len((tmp_path / "ids" / "ids.txt").read_text().split()) == 30
    assert "datamap" in done("show", store)
    assert "kept 30 of 120 rows" in done("show", tmp_path / "subset")
    assert "all whole" in done("verify", store)
    assert "3 files, all whole" in done("verify", tmp_path / "subset")
    for suffix, head in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        assert "rows" in done("map", store, "-o", tmp_path / f"map{suffix}")
        assert (tmp_path / f"map{suffix}").read_bytes().startswith(head)


def test_a_map_is_the_same_bytes_again(store, tmp_path):
    for name in ("a.svg", "b.svg"):
        run("map", store, "-o", tmp_path / name)

    dateless = [re.sub(rb"<dc:date>.*</dc:date>", b"", (tmp_path / name).read_bytes()) for name in ("a.svg", "b.svg")]
    assert dateless[0] == dateless[1]


@pytest.mark.parametrize("command", ["score", "plan", "select", "dry", "export", "list", "show", "verify", "map"])
def test_json_is_one_object_and_nothing_else(store, tmp_path, command):
    data = ("sample:digits", "--limit", 120)
    select = ("select", *data, "--scores", store, "--sampler", "top", "--by", "aum", "--budget", "25%")
    run(*select, "--out", tmp_path / "subset")
    arguments = {
        "score": ("score", *data, "--scorer", "aum", "--out", store),
        "plan": ("score", *data, "--scorer", "aum", "--out", tmp_path / "new", "--dry-run"),
        "select": (*select, "--out", tmp_path / "more"),
        "dry": (*select, "--out", tmp_path / "dry", "--dry-run"),
        "export": ("export", tmp_path / "subset", "--format", "jsonl", "--out", tmp_path / "x", "--format", "ids"),
        "list": ("list",),
        "show": ("show", store),
        "verify": ("verify", store),
        "map": ("map", store, "-o", tmp_path / "map.png"),
    }[command]

    code, out, err = run(*arguments, "--json")

    assert code == 0, err
    assert isinstance(json.loads(out), dict) and out.count("\n") == 1
    assert not (tmp_path / "new").exists() and not (tmp_path / "dry").exists()


def test_the_documented_exit_codes_are_in_the_help():
    _, out, _ = run("--help")

    for code in (
        "0 done",
        "1 unexpected",
        "2 wrong usage",
        "3 bad input",
        "4 a missing extra",
        "5 too many",
        "6 the out folder",
        "7 does not fit",
        "130/143",
    ):
        assert code in " ".join(out.split())


@pytest.mark.parametrize("command", [[], *[[name] for name in cli.cli.commands]], ids=lambda c: " ".join(c) or "curate")
def test_every_command_has_help_with_a_word_on_each_argument(command):
    code, out, _ = run(*command, "--help")

    assert code == 0 and len(out.splitlines()[2].strip()) > 10
    for parameter in cli.cli.commands[command[0]].params if command else ():
        assert parameter.opts[0] in out or parameter.param_type_name == "argument"


# --- mistakes

WRONG_USAGE = {
    "no such command": ("scroe",),
    "no such option": ("score", "sample:digits", "--scorre", "aum"),
    "no out": ("score", "sample:digits", "--scorer", "aum"),
    "unknown scorer": ("score", "sample:digits", "--scorer", "el2m", "--out", "OUT"),
    "unknown sample": ("score", "sample:digit", "--scorer", "aum", "--out", "OUT"),
    "unknown model": ("score", "sample:digits", "--scorer", "aum", "--model", "convnt", "--out", "OUT"),
    "bad option value": ("score", "sample:digits", "--scorer", "aum:skip=-1", "--out", "OUT"),
    "bad number": ("score", "sample:digits", "--scorer", "aum", "--epochs", "many", "--out", "OUT"),
    "bad share": ("score", "sample:digits", "--scorer", "aum", "--max-failures", "few", "--out", "OUT"),
    "no seeds": ("score", "sample:digits", "--scorer", "aum", "--seeds", "0", "--out", "OUT"),
    "too short a run": ("score", "sample:digits", "--limit", "40", "--scorer", "el2n:epochs=9", "--epochs", "4", "--out", "OUT"),
    "budget of nothing": ("select", "sample:digits", "--sampler", "random", "--budget", "0", "--out", "OUT"),
    "budget above all": ("select", "sample:digits", "--sampler", "random", "--budget", "9999", "--out", "OUT"),
    "budget above a hundred": ("select", "sample:digits", "--sampler", "random", "--budget", "101%", "--out", "OUT"),
    "no budget": ("select", "sample:digits", "--sampler", "random", "--out", "OUT"),
    "unknown sampler": ("select", "sample:digits", "--sampler", "randm", "--budget", "5", "--out", "OUT"),
    "unknown format": ("export", "SUBSET", "--format", "csv", "--out", "OUT"),
    "empty data": ("score", "", "--scorer", "random", "--out", "OUT"),
    "images' option": ("score", "BAD/good.parquet", "--scorer", "aum", "--augment", "crop", "--out", "OUT"),
    "Ray's option": ("score", "BAD/good.parquet", "--scorer", "random", "--worker-gpus", "1", "--out", "OUT"),
    "unknown list": ("list", "scorer"),
    "unknown picture": ("map", "STORE", "-o", "map.bmp"),
    "option without data": ("export", "SUBSET", "--label", "x", "--out", "OUT"),
}
BAD_INPUT = {
    "no such file": ("score", "missing.parquet", "--scorer", "aum", "--out", "OUT"),
    "broken file": ("score", "BAD/broken.parquet", "--scorer", "aum", "--out", "OUT"),
    "missing column": ("score", "BAD/good.parquet", "--label", "lable", "--scorer", "aum", "--out", "OUT"),
    "one class": ("score", "BAD/one-class.parquet", "--scorer", "aum", "--out", "OUT"),
    "no store": ("show", "BAD"),
    "no store to verify": ("verify", "BAD"),
    "not a selection": ("export", "STORE", "--out", "OUT"),
    "other scores": ("select", "sample:digits", "--limit", "90", "--scores", "STORE", "--sampler", "top", "--budget", "5", "--out", "OUT"),
    "no comparison to advise by": ("advise", "STORE"),
    "no map": ("map", "SUBSET", "-o", "map.png"),
    "unknown column": ("select", "sample:digits", "--where", "labl == 3", "--out", "OUT"),
    "nothing left": ("select", "sample:digits", "--where", "label == 77", "--out", "OUT"),
}
OTHER_CODES = {
    "a missing extra": (4, ("score", "sample:digits", "--limit", "40", "--scorer", "aum", "--model", "timm:resnet18", "--out", "OUT")),
    "too many failures": (5, ("score", "BAD/gaps.parquet", "--scorer", "aum", "--epochs", "3", "--out", "OUT")),
    "another job": (6, ("score", "sample:digits", "--limit", "120", "--scorer", "aum", "--epochs", "9", "--out", "STORE")),
    "another dataset": (6, ("score", "sample:digits", "--limit", "90", "--scorer", "aum", "--out", "STORE")),
    "other options": (6, ("score", "sample:digits", "--limit", "120", "--scorer", "aum:skip=0", "--out", "STORE")),
    "a foreign folder": (6, ("score", "sample:digits", "--scorer", "random", "--out", "BAD")),
    "a foreign folder to overwrite": (
        6,
        ("select", "sample:digits", "--sampler", "random", "--budget", "5", "--overwrite", "--out", "BAD"),
    ),
}
MISTAKES = {
    **{name: (2, arguments) for name, arguments in WRONG_USAGE.items()},
    **{name: (3, arguments) for name, arguments in BAD_INPUT.items()},
    **OTHER_CODES,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_its_exit_code(scored, bad, tmp_path, mistake):
    expected, arguments = MISTAKES[mistake]
    if "SUBSET" in arguments:
        curate.select("sample:digits", sampler="random", budget=5, out=tmp_path / "subset")
    places = {"OUT": tmp_path / "out", "BAD": bad, "STORE": scored[0], "SUBSET": tmp_path / "subset"}
    filled = [
        re.sub("|".join(places), lambda found: str(places[found[0]]), word) if word.isupper() or "BAD/" in word else word
        for word in arguments
    ]

    code, out, err = run(*filled)

    assert code == expected, err
    assert err.startswith("Error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert len(err) > 30 and not out


@pytest.mark.parametrize(("limit", "code"), [("0", 2), ("-1", 2)])
def test_no_rows_asked_for_is_wrong_usage(tmp_path, limit, code):
    assert run("score", "sample:digits", "--limit", limit, "--scorer", "random", "--out", tmp_path / "out")[0] in (code, 3)


def test_a_full_disk_is_exit_7(store, monkeypatch):
    from curate.stages import room

    monkeypatch.setattr(room.shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 0))

    code, _, err = run("score", "sample:digits", "--limit", 120, "--scorer", "el2n", "--out", store)

    assert code == 7 and "on the disk of" in err


def test_a_second_process_is_exit_6(store, held_elsewhere):
    with held_elsewhere(store):
        code, _, err = run("score", "sample:digits", "--limit", 120, "--scorer", "aum", "--out", store)

    assert code == 6 and "Another process is writing" in err


@pytest.mark.parametrize("place", ["aum/part-00000.arrow", "manifest.json", "runs"])
def test_verify_names_what_is_damaged_and_ends_with_3(store, place):
    path = next((store / "runs").glob("*/dynamics/epoch-00002.arrow")) if place == "runs" else store / place
    path.write_bytes(path.read_bytes()[:-7])

    code, out, err = run("verify", store)

    assert code == 3 and path.name in out + err


def test_an_unexpected_error_is_exit_1_and_asks_for_a_report(monkeypatch, tmp_path):
    monkeypatch.setattr("curate.stages.listing.listing", lambda _kind: 1 / 0)

    code, _, err = run("list")
    assert (
        code == 1
        and err
        == "Error: unexpected ZeroDivisionError: division by zero. Run it again with --debug for the traceback, and please report it.\n"
    )
    code, _, err = run("list", "--debug")
    assert code == 1 and "Traceback (most recent call last)" in err


def test_no_command_shows_the_help():
    code, out, err = run()

    assert code == 2 and not out
    assert err.startswith("Usage: ") and "\n  score " in err


def test_the_next_command_can_be_copied_where_a_folder_has_blanks_in_its_name(tmp_path):
    out = done("score", "sample:digits", "--limit", 30, "--scorer", "random", "--out", tmp_path / "my scores")

    assert f"--scores '{tmp_path / 'my scores'}' --by random" in out


def test_a_note_is_not_told_when_quiet(capfd):
    terminal.progress_for(False).note("worth a line")
    terminal.progress_for(True).note("not worth one")

    assert capfd.readouterr().err == "Note: worth a line\n"


def test_quiet_is_quiet(store):
    assert run("score", "sample:digits", "--limit", 120, "--scorer", "el2n", "--quiet", "--out", store)[2] == ""


# --- the process


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["score", "--help"], ["select", "--help"]], ids=" ".join)
def test_help_and_lists_import_nothing_heavy(arguments):
    code = f"import sys\nsys.argv[1:] = {arguments!r}\nfrom curate.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    code += f"print('HEAVY', sorted(set(sys.modules) & set({HEAVY!r})))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_list_shows_every_method_model_and_sample():
    code, out, _ = apart("list")

    names = {line.split()[0] for line in out.splitlines() if line}
    assert code == 0
    assert {
        *methods("scorers"),
        *methods("samplers"),
        "convnet",
        "resnet18",
        "text_bag",
        "mlp",
        "sample:digits",
        "sample:fashion",
        "sample:snips",
    } <= names


def test_the_command_runs_from_an_uninstalled_checkout():
    root = Path(curate.__file__).parents[1]
    if not (root / "cli.py").is_file():
        pytest.skip("installed, so there is no checkout")

    assert subprocess.run([sys.executable, str(root / "cli.py"), "--version"], capture_output=True, check=True, cwd=root).stdout


PLUGIN = '''"""Gini impurity of the final prediction."""

from curate.protocols import Columns, PerRow, Shard


class Gini(PerRow):
    """Gini impurity of the final prediction, (n,) float32, 0 to 1; high is hard."""

    requires = ("probs.final",)
    hard_sign = 1
    keep = "high"

    def score_rows(self, shard: Shard) -> Columns:
        p = shard["probs.final"]  # (n, classes)
        return {"score": (1 - (p * p).sum(axis=1)).astype("float32")}
'''


@pytest.fixture
def package(tmp_path):
    """A third party's package, laid out as an installer leaves it."""
    site = tmp_path / "site"
    info = site / "curate_gini-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "curate_gini.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: curate-gini\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[curate.scorers]\ngini = curate_gini:Gini\n")
    return site


def test_a_scorer_of_a_third_party_is_listed_conforms_and_scores(package, tmp_path):
    assert PLUGIN.count("\n") < 30
    code, out, err = apart("list", "scorers", path=[package])
    assert code == 0 and re.search(r"^gini +high +Gini impurity of the final prediction", out, re.M), err

    check = "from curate.testing import check_scorer; from curate_gini import Gini; check_scorer(Gini); check_scorer('gini')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", check], env=env, check=True)

    arguments = ("score", "sample:digits", "--limit", 60, "--scorer", "gini", "--epochs", 3, "--out", tmp_path / "s", "--workers", 2)
    code, _, err = apart(*arguments, path=[package])
    assert code == 0, err
    gini = curate.Scores.open(tmp_path / "s")["gini"]
    assert ((gini >= 0) & (gini < 1)).all()


def test_a_name_that_is_taken_is_an_error_that_names_both(package):
    (package / "curate_gini-1.0.dist-info" / "entry_points.txt").write_text("[curate.scorers]\naum = curate_gini:Gini\n")

    code, _, err = apart("list", path=[package])

    assert code == 2 and "curate.scorers.dynamics.aum:AUM" in err and "curate_gini:Gini" in err and "curate-gini" in err


# --- the terminal


def test_columns_are_aligned_and_numbers_stand_to_the_right():
    assert terminal.columns([["a", 1], ["bbb", 10]], ["name", "n"]) == "name   n\na      1\nbbb   10"


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "caf\udce9.csv", "--scorer", "random", "--out", "OUT"),
        ("select", "sample:digits", "--sampler", "random", "--budget", "5", "--out", "caf\udce9"),
    ],
    ids=["data", "out"],
)
def test_a_name_that_is_no_utf_8_is_a_mistake_that_can_be_told(tmp_path, arguments):
    code, _, err = run(*(str(tmp_path / word) if word in ("OUT", "caf\udce9") else word for word in arguments))

    assert code == 3 and err.startswith("Error: ") and "caf?" in err


def test_a_class_name_does_not_steer_the_terminal():
    assert terminal.columns([["a\x1b[2J\u202eb"], ["👩\u200d💻"]], ["class"]) == "class\na\ufffd[2J\ufffdb\n👩\u200d💻"


def test_what_is_no_store_of_the_kind_says_how_one_is_made(tmp_path):
    for command, maker in {
        ("advise", tmp_path): "curate compare DATA",
        ("export", tmp_path, "--out", tmp_path / "out"): "curate select DATA",
    }.items():
        code, _, err = run(*command)

        assert code == 3 and maker in err
