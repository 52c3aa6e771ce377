"""Ask-LLM: the probability that a language model answers yes when asked whether a text is worth training on.

Sachdeva et al. 2024, "How to Train Data-Efficient LLMs"; no official code.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import InputError, OptionError
from curate.protocols import Columns, PerRow, Shard
from curate.signals.lm.batches import windows

if TYPE_CHECKING:
    from curate.signals.lm.model import LanguageModel
    from curate.signals.lm.server import Server

Floats = NDArray[np.float64]

LITTLE: Final = 0.5  # of the probability on yes and no together, below which the model does not answer the question
CHARACTERS: Final = 4  # a token, where a server's tokenizer is not at hand

logger = logging.getLogger(__name__)


class AskLLM(PerRow):
    """Probability that the model's first word is "yes", (n,) float32, 0 … 1; high is kept.

    Reads `text`, asks by the paper's prompt (`prompt` is another wording with `{datapoint}` in it, or its file) and takes the softmax
    over the whole vocabulary at the first position of the answer. `mode=yes` is the paper's score; `yes_no` is p(yes) / (p(yes) + p(no)),
    better for models other than Flan-T5, which put much on other tokens; `set` sums over yes, Yes and YES.
    Columns `p_yes`, `p_no` and `mass`, their sum; a median mass below 0.5 is warned of.

    `model` is a hub name or a folder, causal or encoder-decoder; or a server's address, http://…/v1, or its model's name where `server`
    is that address. A model with a chat template is asked in a user's turn (`chat`), another decoder-only one is given the cue "ANSWER:".
    The paper says nothing of texts that are too long: prompt and text together keep to `max_tokens` (at most the model's context, T5's 512,
    and 2,048), by the text's `head`, its `middle`, or the mean over `windows`. The prompt's delimiters are taken out of the text, and what
    the tokenizer would read as a special token is broken by a blank (`escape`).

    A server is asked by `concurrency` threads for its `top` most likely tokens, what is not among them counts as 0; keys come from
    CURATE_API_KEY or OPENAI_API_KEY alone. Answers are kept in the store, so that no resumed job pays twice. A forward pass a text.
    """

    requires = ("text",)
    hard_sign = 0
    keep = "high"

    def __init__(
        self,
        *,
        model: str = "google/flan-t5-xl",
        server: str | None = None,
        mode: Literal["yes", "yes_no", "set"] = "yes",
        prompt: str | None = None,
        yes: str = "yes",
        no: str = "no",
        truncate: Literal["head", "middle", "windows"] = "head",
        max_tokens: int | None = None,
        chat: Literal["auto", "yes", "no"] = "auto",
        escape: bool = True,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        batch_tokens: int = 16_384,
        api: Literal["chat", "completions"] = "chat",
        top: int = 20,
        concurrency: int = 8,
        per_minute: float = 0.0,
        retries: int = 6,
        timeout: float = 60.0,
        wait: float = 0.5,
    ) -> None:
        if not yes.strip() or not no.strip() or yes.strip().lower() == no.strip().lower():
            raise OptionError(f'ask_llm: yes and no must be two different words, got yes="{yes}", no="{no}".')
        least = {
            "batch_tokens": batch_tokens,
            "concurrency": concurrency,
            "top": top,
            "max_tokens": 2 if max_tokens is None else max_tokens,
        }
        for name, value in least.items():
            if value < 1:
                raise OptionError(f"ask_llm: {name} must be 1 or more, got {value}.")
        for name, number in {"per_minute": per_minute, "retries": retries, "wait": wait}.items():
            if not 0 <= number < np.inf:
                raise OptionError(f"ask_llm: {name} must be 0 or more, got {number}.")
        if not 0 < timeout < np.inf:
            raise OptionError(f"ask_llm: timeout must be above 0 seconds, got {timeout}.")
        if server is not None and not server.startswith(("http://", "https://")):
            raise OptionError(f'ask_llm: server must be an address such as http://localhost:8000/v1, got "{server}".')
        if server is None and model.startswith(("http://", "https://")):
            model, server = "auto", model
        self.model = model
        self.server = server
        self.mode: Literal["yes", "yes_no", "set"] = mode
        self.prompt = prompt
        self.yes = yes
        self.no = no
        self.truncate: Literal["head", "middle", "windows"] = truncate
        self.max_tokens = max_tokens
        self.chat: Literal["auto", "yes", "no"] = chat
        self.escape = escape
        self.precision: Literal["auto", "float32", "bfloat16"] = precision
        self.batch_tokens = batch_tokens
        self.api: Literal["chat", "completions"] = api
        self.top = top
        self.concurrency = concurrency
        self.per_minute = per_minute
        self.retries = retries
        self.timeout = timeout
        self.wait = wait
        self._lm: LanguageModel | None = None
        self._asked: Server | None = None
        self._folder: Path | None = None
        self._max_requests: int | None = None
        self._warned = False

    def identity(self) -> Mapping[str, str | None]:
        """The manifest's model and prompt; how politely a server is asked changes no score."""
        from curate.signals.lm.loading import identity
        from curate.signals.lm.prompts import Prompt

        manners = dict.fromkeys(("concurrency", "per_minute", "retries", "timeout", "wait"))
        model = self.model if self.server is not None else identity(self.model)
        return {**manners, "model": model, "prompt": Prompt.of(self.prompt, "ask_llm").hash}

    def answers_in(self, folder: Path, max_requests: int | None) -> None:
        self._folder, self._max_requests = folder, max_requests

    def requests_for(self, texts: Sequence[str]) -> tuple[int, int]:
        prompts = [prompt for text in texts if text.strip() for prompt in self._spoken(text)]
        return len(prompts), sum(map(len, prompts)) // CHARACTERS

    def weight(self, device: str) -> int:
        if self.server is not None:
            return 0
        from curate.signals.lm.memory import needed

        return needed(self.model, device, self.precision, self.batch_tokens)

    def open(self, device: str) -> None:
        if self.server is None:
            self._open_model(device)
        else:
            self._open_server(self.server)

    def close(self) -> None:
        if self._asked is not None:
            self._asked.close()
        self._lm = self._asked = None

    def score_rows(self, shard: Shard) -> Columns:
        texts = shard["text"].tolist()
        if self._asked is not None:
            return self._columns(*self._by_server(self._asked, texts, int(shard.rows[0]) if len(shard) else 0))
        p = np.concatenate([np.empty((0, 2)), *(self._by_model(texts[start:stop]) for start, stop in windows(len(texts)))])
        return self._columns(p, np.full(len(texts), "", "U16"))

    def _open_model(self, device: str) -> None:
        from curate.signals.lm.model import LanguageModel
        from curate.signals.lm.prompts import Asker, Prompt, word_id

        lm = LanguageModel.open(self.model, device, precision=self.precision, batch_tokens=self.batch_tokens)
        limit = min(self.max_tokens or 2048, lm.context)
        prompt = Prompt.of(self.prompt, "ask_llm")
        self._asker = Asker(
            lm.tokenizer, prompt, two_sided=lm.two_sided, chat=self.chat, limit=limit, truncate=self.truncate, escape=self.escape
        )
        self._ids: list[list[int]] = []
        for word in (self.yes, self.no):
            forms = _spellings(word) if self.mode == "set" else [word]
            found = {word_id(lm.tokenizer, form, self._asker, two_sided=lm.two_sided) for form in forms}
            ids = sorted(token for token in found if token is not None)
            if not ids:
                raise InputError(
                    f'ask_llm: "{word}" is not one token in the tokenizer of "{self.model}", whose probability is asked for. '
                    "Name words that are: yes=…,no=…"
                )
            self._ids.append(ids)
        if set(self._ids[0]) & set(self._ids[1]):
            raise InputError(f'ask_llm: "{self.yes}" and "{self.no}" are the same token in "{self.model}" (unknown words?). Name others.')
        self._lm = lm

    def _open_server(self, url: str) -> None:
        from curate.signals.lm.answers import Answers
        from curate.signals.lm.server import Manners, Server, model_served

        if self._folder is None:
            raise OptionError("ask_llm: a server is asked by `curate score`, which keeps its answers; call `answers_in` before `open`.")
        manners = Manners(self.concurrency, self.per_minute, self.retries, self.timeout, self.wait)
        name = model_served(url, manners) if self.model == "auto" else self.model
        self._asked = Server(
            url,
            name,
            Answers(self._folder),
            api=self.api,
            top=self.top,
            words=(self.yes, self.no),
            manners=manners,
            max_requests=self._max_requests,
        )

    def _by_model(self, texts: Sequence[str]) -> Floats:
        """p(yes) and p(no), (n, 2)."""
        assert self._lm is not None, "open comes before"
        prompts, counts = self._asker.prompts(texts)
        yes, no = self._ids
        p = self._lm.next_token(prompts, [*yes, *no])
        both = np.stack([p[:, : len(yes)].sum(axis=1), p[:, len(yes) :].sum(axis=1)], axis=1)
        return _means(both, counts)

    def _by_server(self, server: "Server", texts: Sequence[str], first: int) -> tuple[Floats, NDArray[np.str_]]:
        spoken = [self._spoken(text) if text.strip() else [] for text in texts]
        answers = server.ask([prompt for prompts in spoken for prompt in prompts], first)
        both = np.array([[np.nan, np.nan] if isinstance(a, str) else self._of_answer(a) for a in answers]).reshape(-1, 2)
        said = iter(answers)
        status = [next((a for a in [next(said) for _ in prompts] if isinstance(a, str)), "") for prompts in spoken]
        return _means(both, [len(prompts) for prompts in spoken]), np.array(status, "U16")

    def _of_answer(self, answer: Mapping[str, float]) -> tuple[float, float]:
        from curate.signals.lm.server import plain

        def p(word: str) -> float:
            def same(token: str) -> bool:
                return plain(token).lower() == word.lower() if self.mode == "set" else plain(token) == word

            return float(sum(np.exp(log) for token, log in answer.items() if same(token)))

        return p(self.yes), p(self.no)

    def _spoken(self, text: str) -> list[str]:
        """A server's prompts for a text; it is cut by characters, for the server's tokenizer is not here."""
        from curate.signals.lm.prompts import Prompt

        prompt = Prompt.of(self.prompt, "ask_llm")
        room = max((self.max_tokens or 2048) * CHARACTERS - len(prompt.filled("")), CHARACTERS)
        clean = prompt.harmless(text) if self.escape else text
        if self.truncate == "middle":
            start = max((len(clean) - room) // 2, 0)
            return [prompt.filled(clean[start : start + room])]
        starts = range(0, max(len(clean), 1), room) if self.truncate == "windows" else [0]
        return [prompt.filled(clean[start : start + room]) for start in starts]

    def _columns(self, p: Floats, status: NDArray[np.str_]) -> dict[str, Any]:
        p_yes, p_no = p.T
        mass = p_yes + p_no
        with np.errstate(divide="ignore", invalid="ignore"):
            score = p_yes / mass if self.mode == "yes_no" else p_yes
        known = np.isfinite(score)
        status[~known & (status == "")] = "not_answered"
        if known.any() and not self._warned and (middle := float(np.median(mass[known]))) < LITTLE:
            self._warned = True
            logger.warning(
                "ask_llm: the model puts %.2g on yes and no together (median); it hardly answers the question. "
                "Try mode=yes_no or set, chat=…, or another model.",
                middle,
            )
        numbers = {"score": score, "p_yes": p_yes, "p_no": p_no, "mass": mass}
        return {name: np.where(known, values, np.nan).astype(np.float32) for name, values in numbers.items()} | {"status": status}


def _means(p: Floats, counts: Sequence[int]) -> Floats:
    """The mean over each text's prompts, NaN where it has none."""
    row = np.repeat(np.arange(len(counts)), counts)
    total = np.zeros((len(counts), 2))
    np.add.at(total, row, p)
    with np.errstate(invalid="ignore"):
        return total / np.array(counts, np.float64)[:, None]


def _spellings(word: str) -> list[str]:
    """yes, Yes and YES, each alone and behind a blank."""
    return [blank + form for blank in ("", " ") for form in dict.fromkeys([word, word.capitalize(), word.upper()])]
