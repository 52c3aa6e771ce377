"""The language-model engine beside the loop that people write with transformers: tokens a second and peak memory on mixed lengths.

    python benchmarks/lm.py --data webtext-mix.parquet --out benchmarks/results/lm.txt

The loop: rows in their order, 16 a batch, each text cut to 512 tokens and padded to them (`padding="max_length"`, as data-selection
scripts have it), logits of every position over the whole vocabulary, then one number a row. Beside it the kinder loop that pads to the
longest text of its batch. Ours sorts by length, fills batches of 8,192 padded tokens, and puts the head on the positions that count.
The model is a GPT-2 of two layers, 128 wide, with 50,257 tokens and random weights, which are as fast as trained ones. Losses are what
`perplexity` asks for, answers the next token after Ask-LLM's published prompt. Seconds are the process's CPU time, one thread; memory
is what a forked process grew by. All three must agree.

Result (benchmarks/results/lm.txt): losses 6.3 times as fast in 1/23 of the memory, answers 12.9 times in 1/68. In row order every batch
of 16 has a long text, so that padding to its longest gains nothing.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from curate.signals.lm.model import LanguageModel, Part
from curate.signals.lm.prompts import Asker, Prompt

CUT, BATCH, BUDGET, VOCABULARY = 512, 16, 8192, 50_257
YES, NO = 10, 11  # any two tokens: the weights are random


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = pq.read_table(given.data).to_pydict()
    texts = [text for text, of in zip(table["text"], table["source"], strict=True) if of != "udhr"]
    texts = [texts[i][:4000] for i in np.random.default_rng(0).permutation(len(texts))[: given.rows]]
    lines = [f"torch {torch.__version__}, transformers {transformers.__version__}, one thread of a shared CPU, {len(texts)} documents"]
    with tempfile.TemporaryDirectory() as folder:
        save(folder, texts)
        lm = LanguageModel.open(folder, "cpu", batch_tokens=BUDGET)
    asker = Asker(lm.tokenizer, Prompt.of(None, "ask_llm"), two_sided=False, chat="no", limit=CUT, truncate="head")
    rows = lm.tokenizer(texts, truncation=True, max_length=CUT)["input_ids"]
    prompts, _ = asker.prompts(texts)
    for name, ids, loop, ours in (
        ("losses", rows, losses_by_loop, lambda: lm.losses([Part([], row) for row in rows])[0]),
        ("answers", prompts, answers_by_loop, lambda: lm.next_token(prompts, [YES, NO])),
    ):
        lines += compared(name, ids, loop, ours, lm)
        print("\n".join(lines), flush=True)
        if given.out:
            given.out.write_text("\n".join(lines) + "\n")


def save(folder: str, texts: list[str]) -> None:
    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=20_000, special_tokens=["<pad>", "<unk>"]))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"n_embd": 128, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).save_pretrained(folder)


def compared(name: str, ids: list[list[int]], loop: Callable[..., Any], ours: Callable[[], Any], lm: LanguageModel) -> list[str]:
    lengths = np.array([len(row) for row in ids])
    lines = ["", f"{name}: {lengths.sum():,} tokens, {lengths.min()} to {lengths.max()} a row, median {np.median(lengths):.0f}"]
    lines += [f"  {'':34}{'CPU s':>8}{'tokens/s':>10}{'times':>7}{'memory, MB':>12}"]
    first: NDArray[Any] | None = None
    plain = 0.0
    for way, work in (
        ("loop, padded to 512", lambda: loop(lm._model, ids, CUT)),
        ("loop, padded to the batch's longest", lambda: loop(lm._model, ids, None)),
        ("ours", ours),
    ):
        work_few = time.process_time()
        found = work()
        seconds = time.process_time() - work_few
        if first is None:
            first, plain = found, seconds
        assert np.allclose(found, first, rtol=1e-4, atol=1e-7), f"{way} gives other numbers"
        lines.append(f"  {way:34}{seconds:8.1f}{lengths.sum() / seconds:10,.0f}{plain / seconds:7.1f}{grown(work):12,.0f}")
    return lines


def padded(ids: list[list[int]], to: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    width = to or max(map(len, ids))
    inputs = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    return inputs, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])


@torch.inference_mode()
def losses_by_loop(model: Any, rows: list[list[int]], to: int | None) -> NDArray[np.float64]:
    found = []
    for start in range(0, len(rows), BATCH):
        inputs, mask = padded(rows[start : start + BATCH], to)
        logits = model(input_ids=inputs, attention_mask=mask).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), inputs[:, 1:], reduction="none")
        found.append((loss * mask[:, 1:]).sum(dim=1))
    return torch.cat(found).double().numpy()


@torch.inference_mode()
def answers_by_loop(model: Any, prompts: list[list[int]], to: int | None) -> NDArray[np.float64]:
    found = []
    for start in range(0, len(prompts), BATCH):
        inputs, mask = padded(prompts[start : start + BATCH], to)
        logits = model(input_ids=inputs, attention_mask=mask).logits
        last = logits[torch.arange(len(inputs)), mask.sum(dim=1) - 1]
        found.append(last.softmax(dim=1)[:, [YES, NO]])
    return torch.cat(found).double().numpy()


def grown(work: Callable[[], Any]) -> float:
    """MB by which a forked process grows while it does the work."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_grow, args=(work, send))
    child.start()
    megabytes: float = receive.recv()
    child.join()
    return megabytes


def _grow(work: Callable[[], Any], send: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    send.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


if __name__ == "__main__":
    main()
