"""The examples run as they stand, on fewer rows, and leave what they say they leave."""

import importlib.util
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

import curate

EXAMPLES = Path(__file__).parents[1] / "examples"
README = EXAMPLES.parent / "README.md"


def run(name, monkeypatch, folder, *words):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [name, *words])
    spec = importlib.util.spec_from_file_location("__main__", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def test_every_example_is_run_here_or_is_the_demo_and_the_readme_leads_to_it():
    here = Path(__file__).read_text(encoding="utf-8")

    for path in EXAMPLES.glob("*.py"):
        assert path.stem == "demo" or f'run("{path.stem}"' in here
        assert f"(examples/{path.name})" in README.read_text(encoding="utf-8")


def test_a_transformers_trainer_is_recorded(monkeypatch, tmp_path, capsys):
    pytest.importorskip("transformers")

    run("huggingface_trainer", monkeypatch, tmp_path, "--rows", "96", "--epochs", "2")

    lines = [line for line in capsys.readouterr().out.splitlines() if re.match(r" *-?\d+\.\d\d  \w", line)]
    assert len(lines) == 5
    assert set(curate.Scores.open(tmp_path / "runs/trainer/recording").names) == {"aum", "datamap", "forgetting"}


def test_lightning_is_recorded_and_its_rows_selected(monkeypatch, tmp_path, capsys):
    pytest.importorskip("lightning")

    run("lightning_images", monkeypatch, tmp_path, "--rows", "200", "--epochs", "2")

    assert "kept 60 of 200 rows" in capsys.readouterr().out
    assert len(curate.load(str(tmp_path / "runs/lightning/subset"))) == 60


def test_infobatch_visits_fewer_rows_than_the_same_loop_without_it(monkeypatch, tmp_path, capsys):
    run("infobatch_loop", monkeypatch, tmp_path, "--rows", "200", "--epochs", "8")

    visits = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) visits", capsys.readouterr().out)]
    assert visits[0] == 8 * 200
    assert visits[1] < 0.9 * visits[0]


def test_a_small_language_model_tells_text_from_noise_by_perplexity_and_when_asked(monkeypatch, tmp_path, capsys):
    pytest.importorskip("transformers")
    said = curate.load("sample:snips").texts(0, 5000)
    text = [" ".join(f"{one.strip().capitalize()}." for one in said[i : i + 3]) for i in range(0, len(said), 3)]
    pd.DataFrame({"text": text}).to_parquet(tmp_path / "rows.parquet")
    sizes = {"epochs": 1, "width": 48, "tokens": 800, "questions": 600, "held-out": 60}

    run("small_language_model", monkeypatch, tmp_path, "--data=rows.parquet", *(f"--{name}={n}" for name, n in sizes.items()))

    told = re.findall(r"(\w+): whole against (.*), AUROC (\S+)", capsys.readouterr().out)
    assert {(name, kind) for name, kind, _ in told} == {
        (name, kind) for name in ("perplexity", "ask_llm") for kind in ("shuffled words", "random letters")
    }
    assert min(float(auroc) for _, _, auroc in told) >= 0.9, told


def test_the_walk_in_search_of_wrong_labels_runs_from_cell_to_cell(monkeypatch, tmp_path, capsys):
    curate.load("sample:snips").table.select(range(0, 5000, 10)).to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setenv("DATA", "rows.parquet")
    monkeypatch.setenv("EPOCHS", "2")

    run("find_label_errors", monkeypatch, tmp_path)

    assert "kept 495 rows" in capsys.readouterr().out
    assert (tmp_path / "label-errors/report.html").stat().st_size > 10_000
    assert len(curate.load(str(tmp_path / "label-errors/cleaned"))) == 495
