"""A transformers.Trainer is recorded while it trains as it always does."""

import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import curate
from curate.errors import InputError
from curate.integrations.transformers import ROWS, record, token_losses

N, CLASSES = 21, 3
WORDS = 40
MEASURES = ("loss", "m_logit", "m_prob", "entropy", "el2n", "el1", "correct", "kappa", "visits")


@pytest.fixture
def tokenised():
    return rows_of_tokens()


def rows_of_tokens():
    rng = np.random.default_rng(0)
    ids = rng.integers(5, WORDS, (N, 6))
    ids[:, 0] = 5 + np.arange(N)  # tells which row it is
    return datasets.Dataset.from_dict(
        {"input_ids": ids.tolist(), "labels": rng.integers(0, CLASSES, N).tolist(), "text": ["a word"] * N, "row": list(range(N))}
    )


def classifier(classes=CLASSES):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=classes,
    )
    return BertForSequenceClassification(config)


def collate(items):
    """A collator of one's own, which refuses what it does not know."""
    assert all(set(item) <= {"input_ids", "labels"} for item in items)
    return {name: torch.tensor([item[name] for item in items]) for name in ("input_ids", "labels")}


class Spy(Trainer):
    """A subclass with a loss of its own, as TRL's have, that keeps a recording of its own: the truth."""

    truth = None

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        assert ROWS not in inputs
        labels = inputs["labels"]
        outputs = model(**inputs)
        if model.training:
            self.truth.log(inputs["input_ids"][:, 0] - 5, outputs.logits.detach(), labels)
        loss = nn.functional.cross_entropy(outputs.logits, labels, label_smoothing=0.1)
        return (loss, outputs) if return_outputs else loss


class Killed(TrainerCallback):
    def on_save(self, args, state, control, **_):
        raise KeyboardInterrupt


def trainer_of(tmp_path, data, name, *, recorded=True, resume=False, **options):
    arguments = TrainingArguments(
        str(tmp_path / f"trainer-{name}"),
        **{
            "num_train_epochs": 2,
            "per_device_train_batch_size": 4,
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            "seed": 1,
            **options,
        },
    )
    made = Spy(classifier(), arguments, train_dataset=data, eval_dataset=data, data_collator=collate)
    made.truth = curate.Recorder(tmp_path / f"truth-{name}", labelled(data), overwrite=True)
    recorder = curate.Recorder(tmp_path / f"run-{name}", labelled(data), resume=resume)
    return (record(made, recorder) if recorded else made), recorder


def labelled(data):
    return curate.load(datasets.Dataset.from_dict({"x": [[float(row)] for row in range(len(data))], "label": data["labels"]}))


def recorded(recorder, epochs):
    run = recorder._run
    return {name: run.columns([f"dynamics.{name}"], 0, N)[f"dynamics.{name}"] for name in MEASURES if name != "visits"}


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 3},
        {"remove_unused_columns": True, "dataloader_num_workers": 1},
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"eval_strategy": "steps", "eval_steps": 2},
    ],
    ids=["plain", "accumulated", "a loader process", "compiled", "evaluated on the way"],
)
def test_what_is_recorded_is_what_the_loss_saw(tmp_path, tokenised, options):
    trainer, recorder = trainer_of(tmp_path, tokenised, "one", **options)
    end = recorder.end_epoch
    recorder.end_epoch = lambda model=None: (end(model), trainer.truth.end_epoch())

    trainer.train()

    same(recorded(recorder, 2), recorded(trainer.truth, 2))
    assert np.isfinite(recorder._run.columns(["dynamics.loss"], 0, N)["dynamics.loss"]).all()


def test_training_itself_is_not_changed(tmp_path, tokenised):
    plain, _ = trainer_of(tmp_path, tokenised, "plain", recorded=False)
    plain.train()
    recording, recorder = trainer_of(tmp_path, tokenised, "recording")
    recording.train()

    for one, other in zip(plain.model.parameters(), recording.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert recorder.score(["aum", "datamap"], progress=None)["aum"].shape == (N,)


@pytest.mark.parametrize("steps", [3, 6], ids=["in mid-epoch", "with an epoch's last step"])
def test_a_resumed_training_goes_on_with_its_recording(tmp_path, tokenised, steps):
    whole, truth = trainer_of(tmp_path, tokenised, "whole")
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": steps}
    killed, _ = trainer_of(tmp_path, tokenised, "killed", **saving)
    killed.add_callback(Killed())
    with pytest.raises(KeyboardInterrupt):
        killed.train()

    resumed, recorder = trainer_of(tmp_path, tokenised, "killed", resume=True, **saving)
    resumed.train(resume_from_checkpoint=True)

    assert recorder._run.epochs_done == 2
    same(recorded(recorder, 2), recorded(truth, 2))


def test_a_column_says_which_row_it_is(tmp_path, tokenised):
    data = labelled(tokenised)
    part = tokenised.select([3, 17, 4, 9])
    arguments = TrainingArguments(str(tmp_path / "out"), num_train_epochs=1, report_to=[], disable_tqdm=True, use_cpu=True)
    recorder = curate.Recorder(tmp_path / "run", data)

    record(Trainer(classifier(), arguments, train_dataset=part), recorder, rows="row").train()

    loss = recorder._run.columns(["dynamics.loss"], 0, N)["dynamics.loss"]
    assert np.flatnonzero(np.isfinite(loss[:, 0])).tolist() == [3, 4, 9, 17]


def test_another_size_without_such_a_column_is_refused(tmp_path, tokenised):
    arguments = TrainingArguments(str(tmp_path / "out"), report_to=[], use_cpu=True)
    recorder = curate.Recorder(tmp_path / "run", labelled(tokenised))

    with pytest.raises(InputError, match='rows="row"'):
        record(Trainer(classifier(), arguments, train_dataset=tokenised.select(range(5))), recorder)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (list(range(1, N + 1)), f"Row {N} is out of range: the dataset has rows 0 … {N - 1}"),
        ([f"id-{row}" for row in range(N)], "is 'id-.*'; the number of a row in the recorder's data is expected"),
        (None, 'has no "where"; it has input_ids, labels'),
    ],
    ids=["out of range", "names", "no such column"],
)
def test_a_column_that_gives_no_rows_is_told_of(tmp_path, tokenised, column, message):
    data = tokenised if column is None else tokenised.add_column("where", column)
    trainer, recorder = trainer_of(tmp_path, data, "run", recorded=False)

    with pytest.raises(InputError, match=message):
        record(trainer, recorder, rows="where").train()


class OwnLoader(Spy):
    def get_train_dataloader(self):
        rows = datasets.Dataset.from_dict({name: self.eval_dataset[name] for name in ("input_ids", "labels")})
        return torch.utils.data.DataLoader(rows, batch_size=4, collate_fn=collate)


def test_batches_that_come_without_rows_are_told_of_at_once(tmp_path, tokenised):
    made, recorder = trainer_of(tmp_path, tokenised, "run", recorded=False)
    made.__class__ = OwnLoader

    with pytest.raises(InputError, match="came without row numbers"):
        record(made, recorder).train()


def test_a_classifier_of_another_width_and_a_second_recording_are_refused_before_training(tmp_path, tokenised):
    trainer, recorder = trainer_of(tmp_path, tokenised, "run", recorded=False)
    trainer.model = classifier(2)
    with pytest.raises(InputError, match=r"puts out 2 numbers a row, but the recorder's data have 3 classes. Make it with num_labels=3"):
        record(trainer, recorder)
    trainer.model = classifier()
    with pytest.raises(InputError, match="recorded already"):
        record(record(trainer, recorder), recorder)


def test_a_language_model_is_recorded_by_its_loss_on_the_answers(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=16
    )
    model = LlamaForCausalLM(config)
    ids = torch.randint(1, WORDS, (5, 7))
    labels = ids.clone()
    labels[:, :3] = -100  # the prompt
    labels[2] = -100  # a row without an answer
    data = datasets.Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist()})
    arguments = TrainingArguments(
        str(tmp_path / "out"), num_train_epochs=2, learning_rate=0.0, report_to=[], disable_tqdm=True, use_cpu=True, save_strategy="no"
    )
    recorder = curate.Recorder(tmp_path / "run", datasets.Dataset.from_dict({"text": list("abcde")}))

    record(Trainer(model, arguments, train_dataset=data), recorder).train()

    expected = []
    for row in [0, 1, 3, 4]:
        log_p = model(ids[row : row + 1]).logits[0].log_softmax(-1)
        expected.append(-np.mean([float(log_p[t - 1, ids[row, t]].detach()) for t in range(3, 7)]))
    loss = recorder._run.columns(["dynamics.loss"], 0, 5)["dynamics.loss"]
    np.testing.assert_allclose(loss[[0, 1, 3, 4]], np.stack([expected, expected], axis=1), rtol=1e-5)
    assert np.isnan(loss[2]).all()
    scores = recorder.score(["loss:over=mean", "datamap"])
    np.testing.assert_allclose(scores["datamap"][[0, 1, 3, 4]], np.exp(-np.array(expected)), rtol=1e-5)


@pytest.mark.parametrize("shift", [True, False], ids=["next", "same"])
@pytest.mark.parametrize("numbers", [1, 20, 1 << 18], ids=["one token at a time", "two", "all at once"])
def test_token_losses_are_mean_cross_entropies_however_they_are_cut(monkeypatch, numbers, shift):
    torch.manual_seed(0)
    logits, labels = 50 * torch.randn(3, 5, 7), torch.randint(0, 7, (3, 5))
    labels[0, :2], labels[2] = -100, -100
    given = logits.clone()
    monkeypatch.setattr("curate.integrations.transformers.CACHED", numbers)

    found = token_losses(logits, labels, shift=shift)

    here, there = (logits[:, :-1], labels[:, 1:]) if shift else (logits, labels)
    each = [nn.functional.cross_entropy(one, label) for one, label in zip(here, there, strict=True)]
    torch.testing.assert_close(found, torch.stack(each), equal_nan=True)
    assert found[2].isnan() and torch.equal(logits, given)


def test_the_trainer_still_has_what_the_recording_leans_on():
    assert "_signature_columns" in inspect.getsource(Trainer._set_signature_columns_if_needed)


def test_two_ranks_of_a_trainer_record_every_row(tmp_path, tokenised):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(curate.__file__).parents[1]), "MASTER_PORT": str(port)}
    subprocess.run([sys.executable, __file__, str(tmp_path)], env=environment, check=True, timeout=300)

    recorder = curate.Recorder(tmp_path / "run-two", labelled(tokenised), resume=True)
    found = recorder._run.columns(["dynamics.loss"], 0, N)["dynamics.loss"]  # of a model that did not move
    with torch.no_grad():
        logits = without_dropout(classifier())(torch.tensor(tokenised["input_ids"])).logits
    expected = nn.functional.cross_entropy(logits, torch.tensor(tokenised["labels"]), reduction="none")
    np.testing.assert_allclose(found, np.stack([expected, expected], axis=1), rtol=1e-5)


def without_dropout(model):
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model


def train_in_two_ranks(folder):
    other = os.fork()  # what is imported by now serves both
    rank = "0" if other else "1"
    os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 0.0, "ddp_backend": "gloo"}
    settings = {"use_cpu": True, "save_strategy": "no", "logging_strategy": "no", "report_to": [], "disable_tqdm": True}
    arguments = TrainingArguments(str(folder / "trainer"), **options, **settings)
    recorder = curate.Recorder(folder / "run-two", labelled(rows_of_tokens()))
    record(Trainer(without_dropout(classifier()), arguments, train_dataset=rows_of_tokens()), recorder).train()
    torch.distributed.destroy_process_group()
    assert not other or os.waitpid(other, 0)[1] == 0


if __name__ == "__main__":
    train_in_two_ranks(Path(sys.argv[1]))
