"""A server that misbehaves in every way, played by httpx's own double: each prompt answered once, none lost, none paid for twice."""

import collections
import json

import httpx
import pytest

from curate.errors import InputError, OptionError
from curate.signals.lm import server as module
from curate.signals.lm.answers import Answers
from curate.signals.lm.server import GAVE_UP, REFUSED, Manners, Server

GOOD = {"choices": [{"logprobs": {"content": [{"top_logprobs": [{"token": "yes", "logprob": -0.5}, {"token": "no", "logprob": -2.0}]}]}}]}
ANSWER = {"yes": -0.5, "no": -2.0}


@pytest.fixture
def play(monkeypatch, tmp_path):
    """A Server whose requests go to `handler(prompt, how often it was asked)`; `asked` counts them."""

    def made(handler, *, retries=2, max_requests=None, folder=tmp_path / "answers"):
        asked = collections.Counter()

        def transport(request):
            prompt = json.loads(request.content)["messages"][0]["content"]
            asked[prompt] += 1
            return handler(prompt, asked[prompt])

        monkeypatch.setattr(module, "_client", lambda manners: httpx.Client(transport=httpx.MockTransport(transport)))
        manners = Manners(concurrency=1, retries=retries, wait=0.0)
        made = Server(
            "http://it/v1",
            "m",
            Answers(folder),
            api="chat",
            top=5,
            words=("yes", "no"),
            manners=manners,
            max_requests=max_requests,
        )
        return made, asked

    return made


def good(*_):
    return httpx.Response(200, json=GOOD)


def timeout(*_):
    raise httpx.ReadTimeout("timed out")


def broken(*_):
    raise httpx.RemoteProtocolError("peer closed connection")


FAULTS = {
    "timeout": timeout,
    "broken connection": broken,
    "429": lambda *_: httpx.Response(429, headers={"retry-after": "0"}),
    "500": lambda *_: httpx.Response(500, text="boom"),
    "truncated JSON": lambda *_: httpx.Response(200, content=json.dumps(GOOD)[:40]),
    "empty body": lambda *_: httpx.Response(200),
    "no choices": lambda *_: httpx.Response(200, json={"choices": []}),
    "a probability above 1": lambda *_: httpx.Response(200, text=json.dumps(GOOD).replace("-0.5", "0.5")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again_and_every_prompt_answered_once(play, fault):
    server, asked = play(lambda prompt, times: FAULTS[fault]() if prompt != "b" and times < 3 else good())

    found = server.ask(["a", "b", "c", "a"], first=0)

    assert found == [ANSWER] * 4
    assert asked == {"a": 3, "b": 1, "c": 3}


def test_a_prompt_that_never_succeeds_leaves_its_row_without_an_answer(play):
    server, asked = play(lambda prompt, times: FAULTS["500"]() if prompt == "a" else good())

    assert server.ask(["a", "b"], first=0) == [GAVE_UP, ANSWER]
    assert asked == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (timeout, r"failed 4 requests in a row, each 3 times; at last: timed out\. 0 answers are kept"),
        (FAULTS["500"], r"each 3 times; at last: 500, boom\."),
        (FAULTS["empty body"], r"each 3 times; at last: an answer that cannot be read\."),
        (lambda *_: httpx.Response(400, text="context\ntoo long"), r"failed 4 requests in a row; at last: 400, context too long\."),
        (lambda *_: httpx.Response(401), r"answers 401: the key is missing or not right\. Set CURATE_API_KEY"),
        (lambda *_: httpx.Response(404, text="no such model"), r'404 for model "m" \(no such model\)'),
        (lambda *_: httpx.Response(200, json={"choices": [{"message": {"content": "yes"}}]}), "gives no log-probabilities"),
    ],
    ids=["timeouts", "500s", "unreadable", "400s", "401", "404", "no logprobs"],
)
def test_where_nothing_helps_it_stops_and_says_why(play, answer, message):
    server, _ = play(answer)

    with pytest.raises(InputError, match=message):
        server.ask([str(i) for i in range(9)], first=0)


def test_a_refused_prompt_is_not_tried_again(play):
    server, asked = play(lambda prompt, times: httpx.Response(400) if prompt == "a" else good())

    assert server.ask(["a", "b"], first=0) == [REFUSED, ANSWER]
    assert asked == {"a": 1, "b": 1}


def test_a_server_that_dies_half_way_is_paid_for_no_prompt_twice(play):
    prompts = [str(i) for i in range(10)]
    dying, before = play(lambda prompt, times: good() if int(prompt) < 5 else broken())
    with pytest.raises(InputError, match="5 answers are kept"):
        dying.ask(prompts, first=0)

    well, after = play(good)

    assert well.ask(prompts, first=0) == [ANSWER] * 10
    assert set(after) == set(prompts[5:]) and before["0"] == 1


def test_no_more_requests_are_sent_than_allowed_and_the_answers_are_kept(play):
    server, asked = play(good, max_requests=3)
    with pytest.raises(OptionError, match=r"3 requests were sent, as --max-requests allows.* 3 answers are kept"):
        server.ask(["a", "b", "c", "d"], first=0)
    again, more = play(good)

    again.ask(["a", "b", "c", "d"], first=0)

    assert asked.total() == 3 and more == {"d": 1}
