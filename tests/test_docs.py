"""The pages say what is so: their commands run, their code runs, their tables follow from the menus, their links lead somewhere."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import curate
from curate.cli import cli
from curate.errors import CurateError
from curate.plugins import methods
from curate.testing import check_scorer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GINI = ROOT / "examples" / "third_party" / "curate_gini"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def transcripts(text: str) -> list[tuple[str, str]]:
    """(command, output) of every console block; a block holds one command."""
    return [tuple(block.removeprefix("$ ").split("\n", 1)) for block in blocks(text, "console")]  # type: ignore[misc]


def shape(output: str) -> str:
    """Output without what differs from machine to machine: numbers, and the blanks that align them."""
    return re.sub(r"\s+", " ", re.sub(r"-?\d[\d.,]*(e[-+]\d+)?", "#", output)).strip()


def run(command: str, folder: Path, *path: Path) -> str:
    words = shlex.split(command)
    assert words[0] == "curate"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *path]))}
    call = [sys.executable, "-c", "from curate.cli import main; main()", *words[1:]]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_commands_of_the_readme_print_what_it_shows(tmp_path):
    shown = transcripts(README)

    assert len(shown) >= 2
    for command, output in shown:
        assert shape(run(command, tmp_path)) == shape(output)


@pytest.mark.parametrize("page", ["README.md", "docs/recording.md"])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = blocks((ROOT / page).read_text(encoding="utf-8"), "python")[0]
    names: dict[str, object] = {}

    exec(code, names)

    assert set(names["scores"].names) >= {"aum", "datamap"}  # type: ignore[attr-defined]


def test_the_loop_with_an_online_sampler_runs_and_saves(capsys):
    exec(blocks((ROOT / "docs" / "training.md").read_text(encoding="utf-8"), "python")[0], {})

    assert re.fullmatch(r"\d\d% of the visits were saved\n", capsys.readouterr().out)


def test_the_tables_are_those_of_the_menus():
    for path, text in load(ROOT / "docs" / "tables.py").pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: make docs"


@pytest.mark.parametrize("room", ["scorers", "samplers", "online_samplers", "distillers"])
def test_every_method_is_in_the_readme_and_on_its_page(room):
    page = (ROOT / "docs" / load(ROOT / "docs" / "tables.py").PAGES[room]).read_text(encoding="utf-8")

    for name, method in methods(room).items():
        if method.origin == "curate":
            assert f"| `{name}` |" in README
            assert f"\n## {name}\n" in page


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_command_is_in_the_readme_and_has_help(name):
    assert f"| `curate {name}` |" in README
    assert cli.commands[name].help


def test_every_exit_code_of_an_error_is_documented():
    def codes(error: type[CurateError]) -> Iterator[int]:
        yield error.exit_code
        for child in error.__subclasses__():
            yield from codes(child)

    page = (ROOT / "docs" / "stores.md").read_text(encoding="utf-8")

    for code in set(codes(CurateError)):
        assert f"\n| {code} |" in page
        assert f"{code} " in README.partition("**Exit codes.**")[2]


def test_every_optional_extra_is_in_the_readme():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    for extra in project["optional-dependencies"]:
        assert f"`{project['name']}[{extra}]`" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_it(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_facade_is_what_is_there():
    for name in curate.__all__:
        assert getattr(curate, name) is not None


def test_the_checkout_runs_uninstalled_from_any_folder(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    done = subprocess.run([sys.executable, ROOT / "cli.py", "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.stdout.startswith("Usage:"), done.stderr


def test_the_links_at_the_root_are_rooms_and_stay_out_of_what_is_built():
    excluded = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]["exclude"]

    for link in filter(Path.is_symlink, ROOT.iterdir()):
        assert link.resolve() == ROOT / "curate" / link.name
        assert f"/{link.name}" in excluded


def test_make_alone_lists_the_targets():
    if shutil.which("make") is None:
        pytest.skip("make is not installed")

    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert {line.split()[1] for line in listed.splitlines()} >= {"demo", "test", "lint", "types", "docs", "bench", "clean"}


def test_the_scorer_of_the_readme_is_the_one_of_the_example():
    code = (GINI / "curate_gini.py").read_text(encoding="utf-8")

    assert code.partition('"""\n\n')[2] == blocks(README, "python")[1]
    assert len(code.splitlines()) < 30
    assert (
        tomllib.loads(blocks(README, "toml")[0])["project"].items()
        <= tomllib.loads((GINI / "pyproject.toml").read_text())["project"].items()
    )


def test_the_scorer_of_the_example_keeps_its_promises():
    check_scorer(load(GINI / "curate_gini.py").Gini)


def test_the_scorer_of_an_installed_package_is_listed_and_scores(tmp_path):
    install(GINI, tmp_path / "site")

    listed = json.loads(run("curate list scorers --json", tmp_path, tmp_path / "site"))["scorers"]
    printed = run("curate score sample:digits --scorer gini --epochs 1 --out scores", tmp_path, tmp_path / "site")

    assert {"gini": "curate-gini"}.items() <= {one["name"]: one["from"] for one in listed}.items()
    assert "\ngini " in printed


def install(package: Path, site: Path) -> None:
    """What an installer leaves: the module, and its entry points as metadata."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in project["entry-points"].items()]
    (about / "entry_points.txt").write_text("\n".join(points))
    shutil.copy(package / "curate_gini.py", site)
