"""Conversations and instructions as one text, with the roles and which parts are answers (those that a model is trained on)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

TemplateName = Literal["chatml", "sharegpt", "alpaca", "prompt"]

# Who speaks, under the names that data sets use for it.
_ROLES: Final = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "function": "tool",
    "observation": "tool",
    "tool": "tool",
}
# The wording that Stanford Alpaca was trained with, and with it most data of this form (tatsu-lab/stanford_alpaca, train.py).
_ALPACA_WITH_INPUT: Final = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
_ALPACA: Final = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
COLUMN_SETS: Final[tuple[tuple[TemplateName, tuple[tuple[str, ...], ...]], ...]] = (
    ("alpaca", (("instruction",), ("input", "context"), ("output", "response"))),
    ("alpaca", (("instruction",), ("output", "response"))),
    ("prompt", (("prompt",), ("completion", "response"))),
)


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered conversation: who speaks, the text with its markup, and whether a model is trained on it."""

    role: str
    text: str
    is_answer: bool


@dataclass(frozen=True)
class ChatTemplate:
    """How rows become text: the template's name and the columns that it reads, in the order question … answer."""

    name: TemplateName
    columns: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """What a manifest records: template, columns, the role that each speaker or column has, and which roles bear loss."""
        if self.name == "sharegpt":
            roles = dict(_ROLES)
        elif self.name == "chatml":
            roles = {role: role for role in ("system", "user", "assistant", "tool")}
        else:
            roles = {column: "user" for column in self.columns[:-1]} | {self.columns[-1]: "assistant"}
        return {"template": self.name, "columns": list(self.columns), "roles": roles, "loss_on": ["assistant"]}


def render(row: Mapping[str, Any], template: ChatTemplate) -> list[Segment]:
    """The row's segments; their texts joined are the rendered conversation. None and a missing text count as empty.

    "chatml" and "sharegpt" give ChatML (`<|im_start|>role`, the text, `<|im_end|>`), whose end mark belongs to the answer, for
    the model has to learn to stop; "alpaca" Stanford Alpaca's wording; "prompt" the two texts as they are. An empty list
    where there is nothing to render.
    """
    if template.name in ("chatml", "sharegpt"):
        return _conversation(row[template.columns[0]], *(("role", "content") if template.name == "chatml" else ("from", "value")))
    texts = [row[column] or "" for column in template.columns]
    if not any(texts):
        return []
    question = _alpaca_question(texts[:-1]) if template.name == "alpaca" else texts[0]
    return [Segment("user", question, False), Segment("assistant", texts[-1], True)]


def joined(segments: Sequence[Segment]) -> str | None:
    """The whole conversation as text; None where it is empty."""
    return "".join(segment.text for segment in segments) or None


def answer_spans(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """The loss mask: half-open character ranges of the joined text that are answers."""
    spans, at = [], 0
    for segment in segments:
        if segment.is_answer:
            spans.append((at, at + len(segment.text)))
        at += len(segment.text)
    return spans


def last_exchange(segments: Sequence[Segment]) -> tuple[str, str]:
    """What comes before the last answer, and that answer without ChatML's end mark; both empty where nobody answers."""
    last = max((i for i, segment in enumerate(segments) if segment.is_answer), default=None)
    if last is None:
        return "", ""
    return "".join(segment.text for segment in segments[:last]), segments[last].text.removesuffix("<|im_end|>")


def _alpaca_question(texts: Sequence[str]) -> str:
    extra = texts[1] if len(texts) > 1 else ""
    return _ALPACA_WITH_INPUT.format(instruction=texts[0], input=extra) if extra else _ALPACA.format(instruction=texts[0])


def _conversation(messages: Sequence[Mapping[str, Any] | None] | None, speaker: str, content: str) -> list[Segment]:
    segments = []
    for message in messages or ():
        if not message:
            continue
        name = str(message[speaker] or "").strip()
        role = _ROLES.get(name.lower(), name.lower() or "user")
        text = message[content] or ""
        is_answer = role == "assistant"
        segments.append(Segment(role, f"<|im_start|>{role}\n", False))
        segments.append(Segment(role, f"{text}<|im_end|>", is_answer))
        segments.append(Segment(role, "\n", False))
    return segments
