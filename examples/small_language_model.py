"""Trains a small language model on real texts where no model hub is at hand, and lets `perplexity` and `ask_llm` judge texts with it.

    python examples/small_language_model.py       needs curatekit[llm]; about a minute on one core

A GPT-2 of two layers learns the texts of `sample:snips` (yours: --data), which is all that perplexity needs; "Perplexed by Perplexity"
trains its reference on a part of the very corpus, too. Then it is taught the published question of Ask-LLM: yes for a text as it stands,
no for one whose words are shuffled or whose letters are random. So taught it knows language from noise, not the useful from the useless,
for which take a Flan-T5 of the hub. At the end both judge texts that the model has not seen, whole, shuffled and random.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import curate
from curate.signals.lm.prompts import ASK_LLM, Asker, Prompt, word_id

BOS = "<s>"
CONTEXT = 256
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample:snips")
    parser.add_argument("--tokens", type=int, default=1500, help="the tokenizer's size")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2, help="over the texts, to learn the language")
    parser.add_argument("--questions", type=int, default=2500, help="texts by which the question is taught, whole and spoilt")
    parser.add_argument("--held-out", type=int, default=300, help="texts by which both are judged")
    parser.add_argument("--out", type=Path, default=Path("small-language-model"))
    given = parser.parse_args()
    torch.set_num_threads(1)  # a second one gains such a small model nothing, and on a busy machine the two wait for each other

    data = curate.load(given.data)
    rng = np.random.default_rng(0)
    texts = [text for text in data.texts(0, len(data)) if text and len(set(text.split())) > 2]
    texts = [texts[i] for i in rng.permutation(len(texts))]
    held_out, texts = texts[: given.held_out], texts[given.held_out :]

    tokenizer, model = made(texts, given.tokens, given.width)
    learn_language(model, tokenizer, texts, given.epochs, rng)
    save(model, tokenizer, given.out / "reads")
    learn_question(model, tokenizer, texts[: given.questions], rng)
    save(model, tokenizer, given.out / "answers")

    judge(held_out, given.out, rng)


def made(texts: Sequence[str], n_tokens: int, width: int) -> tuple[Any, Any]:
    """A byte-level tokenizer of these texts, to which yes and no are one token, and a model with random weights."""
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens, special_tokens=[BOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    pieces.train_from_iterator([*texts, *[f"{ASK_LLM}\nANSWER: yes no"] * (len(texts) // 5)], trainer)
    pieces.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=pieces, bos_token=BOS, eos_token=BOS, model_max_length=CONTEXT)
    torch.manual_seed(0)
    sizes = {"n_embd": width, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT, "vocab_size": len(tokenizer)}
    config = transformers.GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    return tokenizer, transformers.GPT2LMHeadModel(config)


def learn_language(model: Any, tokenizer: Any, texts: Sequence[str], epochs: int, rng: np.random.Generator) -> None:
    rows = [ids[:CONTEXT] for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    def loss(batch: torch.Tensor, which: Sequence[int]) -> torch.Tensor:
        lengths = torch.tensor([len(rows[i]) for i in which])
        hidden = model.transformer(batch).last_hidden_state[:, :-1]
        real = torch.arange(1, batch.shape[1]) < lengths[:, None]  # (b, t - 1)
        return torch.nn.functional.cross_entropy(model.lm_head(hidden[real]), batch[:, 1:][real])

    train(model, rows, loss, epochs, 3e-3, rng, "language")


def learn_question(model: Any, tokenizer: Any, texts: Sequence[str], rng: np.random.Generator) -> None:
    """Each text as it stands, to be answered by yes, and spoilt, by no: three in four shuffled, the fourth random."""
    asker = Asker(tokenizer, Prompt.of(None, "ask_llm"), two_sided=False, chat="auto", limit=CONTEXT, truncate="head")
    pairs = [(text, (shuffled if i % 4 else gibberish)(text, rng)) for i, text in enumerate(texts)]
    rows, _ = asker.prompts([text for pair in pairs for text in pair])
    words = torch.tensor([word_id(tokenizer, word, asker, two_sided=False) for word in ("yes", "no")])

    def loss(batch: torch.Tensor, which: Sequence[int]) -> torch.Tensor:
        last = torch.tensor([len(rows[i]) - 1 for i in which])
        hidden = model.transformer(batch).last_hidden_state[torch.arange(len(which)), last]
        return torch.nn.functional.cross_entropy(model.lm_head(hidden), words[torch.tensor([i % 2 for i in which])])

    train(model, rows, loss, 1, 2e-3, rng, "question")


def train(model: Any, rows: Sequence[Sequence[int]], loss_of: Any, epochs: int, lr: float, rng: np.random.Generator, what: str) -> None:
    """AdamW over batches of rows of like length, in random order, warmed up and let down."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    losses = []
    for _ in range(epochs):
        order = np.argsort([len(row) + rng.random() for row in rows])
        for start in rng.permutation(np.arange(0, len(rows), BATCH)):
            which = order[start : start + BATCH].tolist()
            loss = loss_of(torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in which], batch_first=True), which)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    print(f"{what}: {steps} steps, loss {np.mean(losses[:20]):.2f} at first, {np.mean(losses[-20:]):.2f} at last", flush=True)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def judge(held_out: Sequence[str], folder: Path, rng: np.random.Generator) -> None:
    """Scores whole, shuffled and random texts, as anybody would, and says how well the scores tell them apart."""
    from sklearn.metrics import roc_auc_score

    n = len(held_out)
    spoilt = {"shuffled words": [shuffled(text, rng) for text in held_out], "random letters": [gibberish(text, rng) for text in held_out]}
    rows = Dataset.from_dict({"text": [*held_out, *(text for of_kind in spoilt.values() for text in of_kind)]})
    asked = [f"perplexity:model={folder / 'reads'}", f"ask_llm:model={folder / 'answers'}"]
    scores = curate.score(rows, asked, out=folder / "scores", overwrite=True)
    for name, sign in (("perplexity", -1), ("ask_llm", 1)):
        for i, kind in enumerate(spoilt, 1):
            both = np.concatenate([scores[name][:n], scores[name][i * n : (i + 1) * n]])
            print(f"{name}: whole against {kind}, AUROC {roc_auc_score(np.repeat([1, 0], n), sign * both):.3f}", flush=True)


def shuffled(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    while (other := [words[i] for i in rng.permutation(len(words))]) == words:
        pass
    return " ".join(other)


def gibberish(text: str, rng: np.random.Generator) -> str:
    """Random letters, in words as long as the text's."""
    return "".join(mark if mark.isspace() else chr(97 + rng.integers(26)) for mark in text)


if __name__ == "__main__":
    main()
