"""An OpenAI-compatible server that is asked for the probabilities of one next token: many requests at once, patiently, and none twice."""

import json
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final, Literal

from curate.errors import InputError, MissingExtraError, OptionError
from curate.signals.lm.answers import Answer, Answers, key_of

if TYPE_CHECKING:
    import httpx

Api = Literal["chat", "completions"]

KEYS: Final = ("CURATE_API_KEY", "OPENAI_API_KEY")
AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
LONGEST_WAIT: Final = 60.0  # seconds between two tries, whatever a server asks for
REFUSED, GAVE_UP = "server_refused", "server_gave_up"


@dataclass(frozen=True)
class Manners:
    """How a server is asked: so many requests at once and a minute (0: no limit), tries after the first, seconds to wait."""

    concurrency: int = 8
    per_minute: float = 0.0
    retries: int = 6
    timeout: float = 60.0
    wait: float = 0.5


class Server:
    """Asks for top log-probabilities of the first token of an answer, and remembers them in `answers`.

    A request that fails in a way that may pass (a timeout, a broken connection, an unreadable body, 429, 5xx) is tried again after
    a wait that doubles, or the one that the server names. One that never succeeds leaves its row without a score; where none in a row
    of them succeeds, or the server says that the caller is wrong (401, 403, 404), the job stops, and goes on when it is called again.
    """

    def __init__(
        self,
        url: str,
        model: str,
        answers: Answers,
        *,
        api: Api,
        top: int,
        words: Sequence[str],
        manners: Manners,
        max_requests: int | None,
    ) -> None:
        self._url, self._model, self._answers, self._api, self._top = url.rstrip("/"), model, answers, api, top
        self._words = frozenset(word.lower() for word in words)
        self._manners, self._left = manners, max_requests
        self._allowed = max_requests
        self._client = _client(manners)
        self._lock, self._stop = Lock(), Event()
        self._failed_in_a_row, self._next_start, self._fault = 0, 0.0, ""

    def close(self) -> None:
        self._client.close()

    def payload(self, prompt: str) -> dict[str, Any]:
        """The body of the request for a prompt."""
        common: dict[str, Any] = {"model": self._model, "max_tokens": 1, "temperature": 0}
        if self._api == "chat":
            return common | {"messages": [{"role": "user", "content": prompt}], "logprobs": True, "top_logprobs": self._top}
        return common | {"prompt": prompt, "logprobs": self._top}

    def ask(self, prompts: Sequence[str], first: int) -> list[Answer | str]:
        """For each prompt the tokens that are one of the words, whatever their case and blanks, with log-probabilities; or a status.

        `first` is the first row of the shard that the prompts belong to.
        """
        payloads = [self.payload(prompt) for prompt in prompts]
        keys = [key_of(payload) for payload in payloads]
        open_ = {key: payload for key, payload in zip(keys, payloads, strict=True) if key not in self._answers}
        with self._answers.shard(first, keys):
            failed = self._ask_all(open_)
        return [failed[key] if key in failed else self._answers[key] for key in keys]

    def _ask_all(self, payloads: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Asks what is not known; statuses of those that came to nothing."""
        failed: dict[str, str] = {}

        def one(key: str, payload: Mapping[str, Any]) -> None:
            if self._stop.is_set():
                return
            try:
                answer = self._answer(payload)
                if isinstance(answer, str):
                    failed[key] = answer
                    self._note_failure(answer)
                    return
            except Exception:
                self._stop.set()  # at once: what waits its turn would be paid for
                raise
            self._failed_in_a_row = 0
            self._answers.add(key, answer)

        with ThreadPoolExecutor(self._manners.concurrency) as pool:
            asked = [pool.submit(one, key, payload) for key, payload in payloads.items()]
            done, _ = wait(asked, return_when=FIRST_EXCEPTION)
            wrong = next((error for future in done if (error := future.exception()) is not None), None)
            if wrong is not None:
                pool.shutdown(cancel_futures=True)
                raise wrong
        return failed

    def _note_failure(self, why: str) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row > max(3, self._manners.concurrency):
            times = f", each {self._manners.retries + 1} times" if why == GAVE_UP else ""
            raise InputError(
                f'Server "{self._url}" failed {self._failed_in_a_row} requests in a row{times}; at last: {self._fault}. '
                f"{len(self._answers):,} answers are kept; the same command goes on when the server is well."
            )

    def _answer(self, payload: Mapping[str, Any]) -> Answer | str:
        import httpx

        for attempt in range(self._manners.retries + 1):
            self._take_turn()
            asked_for = 0.0
            try:
                path = "/chat/completions" if self._api == "chat" else "/completions"
                response = self._client.post(self._url + path, json=dict(payload))
                if response.status_code == 200:
                    return self._read(response)
                if response.status_code not in AGAIN:
                    return self._refused(response)
                asked_for, self._fault = _retry_after(response), f"{response.status_code}, {_said(response)}"
            except (httpx.TransportError, httpx.DecodingError, _UnreadableError) as error:  # all of them pass
                self._fault = "an answer that cannot be read" if isinstance(error, _UnreadableError) else str(error) or type(error).__name__
            if attempt < self._manners.retries:
                self._pause(attempt, asked_for)
        return GAVE_UP

    def _take_turn(self) -> None:
        """Counts a request, and waits where only so many a minute are allowed."""
        with self._lock:
            if self._left is not None:
                if self._left <= 0:
                    raise OptionError(
                        f"{self._allowed:,} requests were sent, as --max-requests allows; failed ones that were tried again count too. "
                        f"{len(self._answers):,} answers are kept; the same command goes on."
                    )
                self._left -= 1
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + (60 / self._manners.per_minute if self._manners.per_minute else 0.0)
        if start > now:
            self._stop.wait(start - now)

    def _pause(self, attempt: int, asked_for: float) -> None:
        """Twice as long each time, and never the same for two threads, lest they come back together."""
        own = self._manners.wait * 2**attempt * (0.5 + random.random() / 2)
        self._stop.wait(min(max(own, asked_for), LONGEST_WAIT))

    def _refused(self, response: "httpx.Response") -> str:
        if response.status_code in (401, 403):
            raise InputError(
                f'Server "{self._url}" answers {response.status_code}: the key is missing or not right. Set {KEYS[0]} (or {KEYS[1]}).'
            )
        if response.status_code in (404, 405):
            raise InputError(
                f'Server "{self._url}" answers {response.status_code} for model "{self._model}" ({_said(response)}). '
                "Is the address one that ends in /v1, and the model one that it serves?"
            )
        self._fault = f"{response.status_code}, {_said(response)}"
        return REFUSED

    def _read(self, response: "httpx.Response") -> Answer:
        try:
            choice = json.loads(response.content)["choices"][0]
            told = choice.get("logprobs")
            if told is None:
                raise InputError(
                    f'Server "{self._url}" gives no log-probabilities (`logprobs` of the answer is missing), and without them there is no '
                    "score. vLLM and llama.cpp give them; of hosted models, not all."
                )
            if self._api == "chat":
                pairs = [(top["token"], float(top["logprob"])) for top in told["content"][0]["top_logprobs"]]
            else:
                pairs = [(token, float(p)) for token, p in told["top_logprobs"][0].items()]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _UnreadableError from error
        if any(math.isnan(p) or p > 1e-3 for _, p in pairs):
            raise _UnreadableError
        kept: Answer = {}
        for token, p in pairs:
            if plain(token).lower() in self._words:
                kept[token] = max(p, -1e4)  # JSON knows no infinity
        return kept


class _UnreadableError(Exception):
    """A body that is not what was promised."""


def plain(token: str) -> str:
    """A token without the marks that tokenizers put for a blank before it."""
    return token.strip(" \n▁Ġ")


def model_served(url: str, manners: Manners) -> str:
    """The first model that a server lists; InputError where it cannot be asked."""
    import httpx

    with _client(manners) as client:
        try:
            response = client.get(url.rstrip("/") + "/models")
            return str(response.raise_for_status().json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise InputError(
                f'Server "{url}" does not say which models it has ({type(error).__name__}: {error}). '
                "Is it running, and does the address end in /v1? Name the model yourself with server=URL,model=NAME."
            ) from error


def _client(manners: Manners) -> "httpx.Client":
    try:
        import httpx
    except ImportError:
        raise MissingExtraError('Asking a server needs httpx. Install it: pip install "curatekit[llm]"') from None
    key = next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
    limits = httpx.Limits(max_connections=manners.concurrency, max_keepalive_connections=manners.concurrency)
    return httpx.Client(timeout=manners.timeout, limits=limits, headers={"Authorization": f"Bearer {key}"} if key else {})


def _retry_after(response: "httpx.Response") -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0  # a date; our own wait will do


def _said(response: "httpx.Response") -> str:
    """The first words of an error body, on one line."""
    return " ".join(response.text[:200].split()) or "no explanation"
