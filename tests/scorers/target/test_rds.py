"""rds: weighted pooling, cosine to the target, and one similarity a query."""

import numpy as np
import pytest

from curate.errors import InputError, OptionError
from curate.scorers.target.rds import RDS
from curate.testing import check_scorer, shard_of

TEXTS = ["the text is to inform", "yes", "no and yes", "a" * 100, "", "the end of a text " * 60]


def scored(scorer, rows, goal, tasks=None):
    """Columns and facts; rows and goal are texts or vectors."""
    name = "embedding" if scorer.model is None else "text"
    target = {f"target.{name}": goal} | ({} if tasks is None else {"target.label": tasks})
    scorer.open("cpu")
    try:
        told = scorer.merge_target([scorer.fit_target(shard_of(target, rows=np.arange(len(goal))))])
        state = {f"target.{key}": value for key, value in told.items()}
        return scorer.score(shard_of({name: rows}, rows=np.arange(len(rows))), state), scorer.conclude(state)
    finally:
        scorer.close()


def test_the_worked_example():
    states = np.float32([[1, 0], [0, 1], [1, 1]])
    weight = np.array([1, 2, 3]) / 6

    np.testing.assert_allclose(weight @ states, [2 / 3, 5 / 6], rtol=1e-6)  # what `pooled` must give, see below
    found, _ = scored(RDS(), [[2.0, 2.5], [0.0, -3.0], [0.0, 0.0]], weight[None] @ states)
    np.testing.assert_allclose(found["score"], [1, -0.780869, 0], atol=1e-5)  # -5/6 / √(4/9 + 25/36)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_pooling_is_the_plain_loop(tiny_language_model, kind):
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder = tiny_language_model(kind)
    model = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scorer = RDS(model=folder, batch_tokens=64)

    scorer.open("cpu")
    found = scorer._placed(np.array(TEXTS, object))
    scorer.close()

    for text, vector in zip(TEXTS, found, strict=True):
        ids = torch.tensor([tokenizer(text, add_special_tokens=kind == "llama")["input_ids"][:256]], dtype=torch.long)
        if not text:
            assert np.isnan(vector).all()
            continue
        with torch.no_grad():
            part = model.get_encoder() if kind == "t5" else model
            out = part(input_ids=ids, output_hidden_states=True)
            last = out.last_hidden_state if kind == "t5" else out.hidden_states[-1]
        weight = torch.arange(1, ids.shape[1] + 1).float()
        mean = (weight / weight.sum()) @ last[0]
        limit = slice(None) if ids.shape[1] < 256 else slice(0, 0)  # cut texts are compared by the batch test
        np.testing.assert_allclose(vector[limit], (mean / mean.norm()).numpy()[limit], atol=1e-5)


def test_neither_batch_nor_padding_matters(tiny_language_model):
    folder = tiny_language_model("llama")
    many, _ = scored(RDS(model=folder), np.array(TEXTS, object), np.array(TEXTS[:3], object))
    one, _ = scored(RDS(model=folder, batch_tokens=1), np.array(TEXTS, object), np.array(TEXTS[:3], object))

    np.testing.assert_allclose(many["similarity"], one["similarity"], atol=1e-4)
    assert many["status"].tolist() == ["", "", "", "", "no_vector", ""]
    assert many["target_row"].tolist()[:3] == [0, 1, 2] and many["target_row"][4] == -1


def test_similarities_are_those_of_a_flat_index():
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    rows, goal = rng.normal(size=(500, 16)).astype(np.float32), rng.normal(size=(7, 16)).astype(np.float32)

    found, _ = scored(RDS(), rows, goal)

    for one in (rows, goal):
        faiss.normalize_L2(one)
    index = faiss.IndexFlatIP(16)
    index.add(rows)
    near, order = index.search(goal, 20)
    np.testing.assert_array_equal(np.argsort(-found["similarity"], axis=0, kind="stable")[:20].T, order)
    np.testing.assert_allclose(np.take_along_axis(found["similarity"].T, order, axis=1), near, atol=1e-6)


def test_a_task_is_as_near_as_its_nearest_row():
    rng = np.random.default_rng(0)
    rows, goal = rng.normal(size=(50, 4)), rng.normal(size=(6, 4))
    tasks = np.array([1, 0, 1, 0, -1, 0])

    found, facts = scored(RDS(tasks=True), rows, goal, tasks)

    cosine = (rows @ goal.T) / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(goal, axis=1)
    expected = np.stack([cosine[:, tasks == task].max(axis=1) for task in (0, 1)], axis=1)
    np.testing.assert_allclose(found["similarity"], expected, atol=1e-6)
    assert facts == {"target_rows": 5, "queries": 2} and 4 not in found["target_row"]


def test_a_row_without_a_vector_has_no_score_and_one_of_the_target_is_left_out():
    found, facts = scored(RDS(), [[1.0, 0.0], [np.nan, np.nan]], [[np.nan, np.nan], [1.0, 1.0]])

    assert np.isnan(found["score"]).tolist() == [False, True] and found["target_row"].tolist() == [1, -1]
    assert found["status"].tolist() == ["", "no_vector"] and facts["target_rows"] == 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="no row of the target"):
        scored(RDS(), [[1.0]], [[np.nan]])
    with pytest.raises(InputError, match="2 numbers, the target of 1"):
        scored(RDS(), [[1.0, 2.0]], [[1.0]])
    with pytest.raises(InputError, match="4,096 are the most"):
        scored(RDS(), [[1.0]], np.ones((4097, 1)))
    for options in ({"length": 0}, {"batch_tokens": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            RDS(**options)


def test_it_keeps_the_contract(tiny_language_model):
    check_scorer("rds:tasks=true")
    check_scorer(RDS(model=tiny_language_model("gpt2")))
