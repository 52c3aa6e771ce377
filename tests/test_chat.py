import pytest

from curate.chat import ChatTemplate, Segment, answer_spans, joined, render

CHATML = ChatTemplate("chatml", ("messages",))
SHAREGPT = ChatTemplate("sharegpt", ("conversations",))
ALPACA = ChatTemplate("alpaca", ("instruction", "input", "output"))
PROMPT = ChatTemplate("prompt", ("prompt", "completion"))


def test_a_conversation_becomes_chatml_whose_answers_hold_their_end_mark():
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}

    assert render(row, CHATML) == [
        Segment("user", "<|im_start|>user\n", False),
        Segment("user", "Hi<|im_end|>", False),
        Segment("user", "\n", False),
        Segment("assistant", "<|im_start|>assistant\n", False),
        Segment("assistant", "Hello<|im_end|>", True),
        Segment("assistant", "\n", False),
    ]


def test_sharegpt_speakers_have_the_same_roles_under_other_names():
    sharegpt = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    messages = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}

    assert render(sharegpt, SHAREGPT) == render(messages, CHATML)


@pytest.mark.parametrize(
    "row, template, answers",
    [
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, ALPACA, ["2"]),
        ({"prompt": "1+1=", "completion": "2"}, PROMPT, ["2"]),
        ({"prompt": "1+1=", "completion": None}, PROMPT, [""]),
        (
            {"messages": [{"role": "assistant", "content": "a"}, None, {"role": "assistant", "content": None}]},
            CHATML,
            ["a<|im_end|>", "<|im_end|>"],
        ),
        ({"messages": [{"role": None, "content": "a"}, {"role": "critic", "content": "b"}]}, CHATML, []),
    ],
    ids=["alpaca", "prompt", "no answer", "missing messages", "other roles"],
)
def test_the_loss_mask_covers_the_answers_alone(row, template, answers):
    segments = render(row, template)

    text = joined(segments)
    assert text is not None
    assert [text[start:stop] for start, stop in answer_spans(segments)] == answers


def test_alpaca_leaves_the_input_section_out_where_there_is_none():
    with_input = joined(render({"instruction": "Add.", "input": "1 {1}", "output": "2"}, ALPACA))
    without = joined(render({"instruction": "Add.", "input": "", "output": "2"}, ALPACA))

    assert "### Input:\n1 {1}\n" in str(with_input)
    assert "### Input" not in str(without)


@pytest.mark.parametrize(
    "row, template",
    [({"messages": []}, CHATML), ({"messages": None}, CHATML), ({"prompt": "", "completion": None}, PROMPT)],
    ids=["empty", "missing", "empty texts"],
)
def test_nothing_to_render_is_no_text(row, template):
    assert joined(render(row, template)) is None


@pytest.mark.parametrize("template", [CHATML, SHAREGPT, ALPACA, PROMPT], ids=lambda template: template.name)
def test_a_manifest_can_say_who_speaks_and_what_bears_loss(template):
    described = template.describe()

    assert described["template"] == template.name
    assert "assistant" in described["roles"].values()
    assert described["loss_on"] == ["assistant"]
