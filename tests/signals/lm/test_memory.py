"""What a language model is going to hold, known before it is opened."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from curate.cli import cli
from curate.errors import DoesNotFitError
from curate.signals.lm.memory import LOGITS, needed


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_it_counts_every_weight_once(tiny_language_model, kind):
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    folder = tiny_language_model(kind)
    weights = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_pretrained(folder).num_parameters()

    assert needed(folder, "cpu", "float32", 0) - LOGITS == 4 * weights
    assert needed(folder, "cpu", "bfloat16", 0) - LOGITS == 2 * weights
    assert needed(folder, "cpu", "float32", 1000) > needed(folder, "cpu", "float32", 10)
    assert needed(folder, "cuda", "float32", 1000) == needed(folder, "cuda", "float32", 10)  # there, batches are halved


@pytest.mark.parametrize("more", [["--dry-run"], []])
@pytest.mark.parametrize("scorer", ["ask_llm", "perplexity"])
def test_a_model_without_room_is_refused_before_it_is_opened(tiny_language_model, tmp_path, scorer, more):
    folder = tmp_path / "huge"
    shutil.copytree(tiny_language_model("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"hidden_size": 1 << 16, "intermediate_size": 1 << 18, "num_hidden_layers": 96})
    )
    pa.parquet.write_table(pa.table({"text": ["the text", "is to inform"]}), tmp_path / "rows.parquet")

    result = CliRunner().invoke(
        cli, ["score", str(tmp_path / "rows.parquet"), "--scorer", f"{scorer}:model={folder}", "--out", str(tmp_path / "s"), *more]
    )

    assert isinstance(result.exception, DoesNotFitError), result.output
    assert f"{scorer}: its model needs about" in str(result.exception) and "precision=bfloat16" in str(result.exception)


def test_a_dry_run_counts_the_model(tiny_language_model, tmp_path):
    pa.parquet.write_table(pa.table({"text": ["the text", "is to inform"]}), tmp_path / "rows.parquet")
    folder = tiny_language_model("gpt2")
    asked = ["score", str(tmp_path / "rows.parquet"), "--scorer", f"perplexity:model={folder}", "--out", str(tmp_path / "s")]

    result = CliRunner().invoke(cli, [*asked, "--dry-run", "--json"])

    assert json.loads(result.stdout)["memory"] >= needed(folder, "cpu", "float32", 16_384)
    assert not Path(tmp_path / "s").exists()
