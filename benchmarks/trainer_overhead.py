"""What recording costs a `transformers.Trainer`, as a share of its step: a plain and a recorded one take turns, step by step.

    python benchmarks/trainer_overhead.py [--steps 60] [--out benchmarks/results/trainer_overhead.txt]

Two models built here, on made-up tokens: a BERT classifier (4 layers of 128, 64 tokens a row, 20 classes) and a Llama language model
(2 layers of 256, 128 tokens, 8,000 words; the first half of each row is a prompt without labels). A step is what the Trainer does in one:
the next batch of its loader, `training_step` and the optimiser's step. CPU seconds of one thread (`time.process_time`): the median over
pairs of a recorded step minus a plain one, which the machine's other work makes uncertain; and, surer, the median of what the
recording itself took inside the step. What `end_epoch` takes is spread over the steps of an epoch.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import curate
from curate.integrations import transformers as integration

ROWS, CLASSES, WARM = 4_000, 20, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"torch {torch.__version__}, one thread of a shared machine, {arguments.steps} pairs of steps, CPU milliseconds", ""]
    for name, make in (("BERT classifier, batch 32 x 64", classifier), ("Llama language model, batch 8 x 128", language_model)):
        lines.append(f"{name}: {measured(*make(), arguments.steps)}")
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def classifier() -> tuple[Any, datasets.Dataset, int]:
    rng = np.random.default_rng(0)
    rows = {"input_ids": rng.integers(5, 8_000, (ROWS, 64)).tolist(), "labels": rng.integers(0, CLASSES, ROWS).tolist()}
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512, "num_labels": CLASSES}
    return lambda: BertForSequenceClassification(BertConfig(vocab_size=8_000, **sizes)), datasets.Dataset.from_dict(rows), 32


def language_model() -> tuple[Any, datasets.Dataset, int]:
    ids = np.random.default_rng(0).integers(5, 8_000, (ROWS // 4, 128))
    labels = np.where(np.arange(128) < 64, -100, ids)
    sizes = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512}
    rows = datasets.Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist()})
    return lambda: LlamaForCausalLM(LlamaConfig(vocab_size=8_000, **sizes)), rows, 8


def measured(build: Any, rows: datasets.Dataset, batch: int, pairs: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        names = datasets.Dataset.from_dict({"text": ["x"] * len(rows), "label": np.resize(np.arange(CLASSES), len(rows)).tolist()})
        recorder = curate.Recorder(Path(folder) / "run", curate.load(names))
        plain, recorded = (
            steps(trainer, batch) for trainer in (trainer_of(build, rows, batch, folder), trainer_of(build, rows, batch, folder, recorder))
        )
        logging = timed()
        spent = np.array([(next(plain), next(recorded)) for _ in range(WARM + pairs)])[WARM:]
        started = time.process_time()
        recorder.end_epoch()
        ending = (time.process_time() - started) / (len(rows) / batch)
    alone = float(np.median(spent[:, 0]))
    more = float(np.median(spent[:, 1] - spent[:, 0]))
    low, high = (float(np.quantile(resampled(spent), q)) for q in (0.025, 0.975))
    share = f"{(more + ending) / alone:+.2%} of the step (95 %: {(low + ending) / alone:+.2%} to {(high + ending) / alone:+.2%})"
    inside = float(np.median(logging[WARM:]))
    return (
        f"{1000 * alone:.1f} plain, {1000 * more:+.2f} recorded and {1000 * ending:+.2f} for the epoch's end: {share}; "
        f"inside the step the recording took {1000 * inside:.2f}: {(inside + ending) / alone:.2%}"
    )


def timed() -> list[float]:
    """The seconds that each call of the recording takes from now on."""
    found: list[float] = []
    plain = integration._log

    def log(*given: Any) -> None:
        started = time.process_time()
        plain(*given)
        found.append(time.process_time() - started)

    integration._log = log
    return found


def resampled(spent: np.ndarray) -> np.ndarray:
    """The median difference of pairs drawn again, 1,000 times."""
    rng = np.random.default_rng(0)
    difference = spent[:, 1] - spent[:, 0]
    return np.median(difference[rng.integers(0, len(difference), (1000, len(difference)))], axis=1)


def trainer_of(build: Any, rows: datasets.Dataset, batch: int, folder: str, recorder: curate.Recorder | None = None) -> Trainer:
    torch.manual_seed(0)
    settings = {"per_device_train_batch_size": batch, "report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
    trainer = Trainer(build(), TrainingArguments(folder, **settings), train_dataset=rows)
    trainer.create_optimizer_and_scheduler(1_000)
    trainer.current_gradient_accumulation_steps = 1
    return trainer if recorder is None else integration.record(trainer, recorder)


def steps(trainer: Trainer, batch: int) -> Iterator[float]:
    """What each step of the Trainer takes."""
    while True:
        batches = iter(trainer.get_train_dataloader())
        while True:
            started = time.process_time()
            inputs = next(batches, None)
            if inputs is None:
                break
            trainer.model.train()
            trainer.training_step(trainer.model, inputs)
            trainer.optimizer.step()
            trainer.model.zero_grad()
            yield time.process_time() - started


if __name__ == "__main__":
    main()
