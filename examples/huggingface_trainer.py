"""Records a `transformers.Trainer` that fine-tunes a small text classifier, then names the rows that it found hardest.

    python examples/huggingface_trainer.py        needs curatekit[text]; about a minute on one core

The model is made here, with random weights, so that nothing is downloaded; put `AutoModelForSequenceClassification.from_pretrained(…)` and
its tokenizer in its place. The one line that curate needs is `record(…)`.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

import curate
from curate.integrations.transformers import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample:snips")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/trainer"))
    given = parser.parse_args()
    data = curate.load(given.data)
    data = data.select(np.sort(np.random.default_rng(0).permutation(len(data))[: given.rows]))
    scores = train(data, given.out, given.epochs)
    for row in np.argsort(scores["aum"])[:5].tolist():
        print(f"{scores['aum'][row]:6.2f}  {data.label_names[data.labels[row]]:20}  {data.texts(row, row + 1)[0]}")


def train(data: curate.Dataset, out: Path, epochs: int) -> curate.Scores:
    tokenizer = tokenizer_of([text or "" for text in data.texts(0, len(data))])
    rows = tokenised(data, tokenizer)
    recorder = curate.Recorder(out / "recording", data, overwrite=True)
    arguments = TrainingArguments(
        str(out / "trainer"),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        learning_rate=3e-3,
        save_strategy="no",
        report_to=[],
    )
    trainer = Trainer(
        small_model(len(tokenizer), len(data.label_names)), arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)
    )
    record(trainer, recorder).train()
    return recorder.score(["aum", "datamap", "forgetting"])


def tokenised(data: curate.Dataset, tokenizer: Any) -> Any:
    """A `datasets.Dataset` with what the model takes, row i of it being row i of the data."""
    import datasets

    encoded = tokenizer([text or "" for text in data.texts(0, len(data))], truncation=True, max_length=32)
    return datasets.Dataset.from_dict({"input_ids": encoded["input_ids"], "labels": data.labels})


def tokenizer_of(texts: list[str]) -> Any:
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        (text.lower() for text in texts), trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"], vocab_size=4000)
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")


def small_model(words: int, classes: int) -> BertForSequenceClassification:
    torch.manual_seed(0)
    size = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    return BertForSequenceClassification(BertConfig(vocab_size=words, max_position_embeddings=32, num_labels=classes, **size))


if __name__ == "__main__":
    main()
