"""What every test gets: no network, and a cache of its own for the `datasets` library; and what many tests need."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="I/N", help="Only the I-th of N parts of the test files, for N processes beside each other.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not (spec := config.getoption("--part")):
        return
    part, parts = map(int, spec.split("/"))
    # Whole files, whose fixtures are made once; neighbours are alike, so they are dealt out.
    files = list(dict.fromkeys(item.path for item in items))
    own = {file for i, file in enumerate(files) if i % parts == part - 1}
    config.hook.pytest_deselected(items=[item for item in items if item.path not in own])
    items[:] = [item for item in items if item.path in own]


def pytest_configure(config: pytest.Config) -> None:
    # Both are read when `datasets` is first imported, before any fixture could set them.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HOME"] = config.stash[_CACHE] = tempfile.mkdtemp(prefix="curate-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


_CACHE = pytest.StashKey[str]()

HOLD = """
import sys
from pathlib import Path
from curate.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held_elsewhere():
    """A context in which another process holds a folder's lock, until it is killed."""

    @contextmanager
    def hold(folder):
        with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline().strip() == b"held"
            try:
                yield other
            finally:
                other.kill()

    return hold


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory):
    """Folders of tiny language models with random weights, in the true layout of the real ones: "gpt2", "llama" or "t5"."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("models") / kind
            _save_language_model(kind, made[kind])
        return str(made[kind])

    return folder


_WORDS = ["Does this text inform? yes no Yes No YES NO ANSWER: yes no user assistant - yes - no OPTIONS: the and of a to in is"] * 50
_CHAT = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def _save_language_model(kind, folder):
    """GPT-2: byte-level, no bos put first, no pad. Llama: bos put first, a chat template. T5: unigram pieces, two sides."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    if kind == "t5":
        pieces = [*(f"▁{word}" for word in ("yes", "no", "Yes", "the", "text", "inform")), "▁", *map(chr, range(33, 127))]
        special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
        made = Tokenizer(models.Unigram([*special, *((piece, -float(1 + 5 * (len(piece) == 1))) for piece in pieces)], unk_id=2))
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    else:
        made, special = Tokenizer(models.BPE()), ["<|endoftext|>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        made.train_from_iterator(_WORDS, trainer)
    marks = {"gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, "llama": {"bos_token": "<s>", "eos_token": "</s>"}}
    if kind != "gpt2":
        end = "<s>" if kind == "llama" else "</s>"
        single = f"{end} $A" if kind == "llama" else f"$A {end}"
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=[(end, made.token_to_id(end))])
    tokens = marks.get(kind, {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"})
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **tokens)
    if kind == "llama":
        tokenizer.chat_template = _CHAT
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    n = len(tokenizer)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=n, n_positions=256, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3)
        ),
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(vocab_size=n, max_position_embeddings=512, initializer_range=0.3, **sizes)
        ),
        "t5": lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(vocab_size=n, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=0)
        ),
    }[kind]()
    model.save_pretrained(folder)
