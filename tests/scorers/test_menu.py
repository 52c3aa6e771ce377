"""What every listed scorer promises, and what every scorer of a training run must not depend on."""

import numpy as np
import pytest

from curate import plugins
from curate.errors import OptionError
from curate.scorers import MENU as LISTED
from curate.testing import _score, check_scorer, signals_of

MODELS = ("ask_llm", "ifd", "leakage", "perplexity", "preselect")  # default to models of the hub; their own tests check them with tiny ones
HEAVY = ("datamodel",)  # trains a thousand models by default; its own tests check it with few
MENU = [name for name in LISTED if name not in (*MODELS, *HEAVY)]
EPOCHS, N = 12, 40
VARIANTS = [
    "el2n:norm=1,epochs=2+5",
    "el2n:mode=online",
    "loss:over=mean",
    "loss:epoch=4",
    "forgetting:convention=inf",
    "forgetting:convention=zero",
    "aum:skip=0",
    "aum:threshold_class=3",
    "datamap:burn_out=5,include_ci=true",
    "data_iq:percentile=80",
    "dyn_unc:window=4,variant=code",
    "dual:window=4,epochs=6",
    "tdds:window=4,epochs=6,beta=0.5",
]


def run_of(spec: str):
    """The settled scorer, its synthetic signals, and a function that scores any version of them whole."""
    scorer = plugins.parse("scorers", spec).build().settle(EPOCHS)

    def scored(columns):
        return _score(scorer, columns, [N])

    return signals_of(scorer.requires, EPOCHS, N), scored


def same(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("spec", [*MENU, *VARIANTS])
def test_a_listed_scorer_keeps_the_contract(spec: str):
    check_scorer(spec)


@pytest.mark.parametrize("epochs", [3, 5, 30])
@pytest.mark.parametrize("name", MENU)
def test_a_listed_scorer_settles_for_short_and_long_runs(name: str, epochs: int):
    check_scorer(name, epochs=epochs, n=8)


@pytest.mark.parametrize("spec", [*MENU, *VARIANTS])
def test_epochs_in_which_nobody_was_presented_change_nothing(spec: str):
    columns, scored = run_of(spec)
    idle = {
        name: np.insert(v, [0, 3, 3, EPOCHS], np.nan, axis=1) if name.startswith("dynamics.") and v.ndim == 2 else v
        for name, v in columns.items()
    }

    same(scored(idle), scored(columns))


BY_PLACE = (
    "random",
    "confident_sets",
    "knn_shapley",
    "exact_duplicates",
    "minhash",
    "prototypes",
    "semdedup",
)  # these go by the row's number
BY_PRODUCTS = ("got_d", "rds", "retrieval")  # and these by matrix products, which round otherwise at another place
ORDERED = [name for name in MENU if name not in BY_PLACE + BY_PRODUCTS]


@pytest.mark.parametrize("spec", [*ORDERED, *VARIANTS])
def test_the_order_of_rows_changes_nothing(spec: str):
    columns, scored = run_of(spec)
    order = np.random.default_rng(0).permutation(N)

    found = scored({name: values if name.startswith("target.") else values[order] for name, values in columns.items()})

    same(found, {name: values[order] for name, values in scored(columns).items()})


@pytest.mark.parametrize("name", ["entropy", "least_confidence", "margin"])
def test_renaming_the_classes_changes_nothing_but_rounding(name: str):
    columns, scored = run_of(name)

    found = scored({"probs.final": columns["probs.final"][:, [2, 0, 3, 1]]})

    np.testing.assert_allclose(found["score"], scored(columns)["score"], rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "epochs", "message"),
    [
        ("dyn_unc:window=10", 8, "dyn_unc: window 10 needs 10 epochs, the run has 8; use --epochs 10 or window=8"),
        ("dyn_unc:window=10,variant=code", 10, "dyn_unc: window 10 needs 11 epochs, the run has 10; use --epochs 11 or window=9"),
        ("dyn_unc", 2, "window 3 needs 3 epochs, the run has 2; use --epochs 3 or window=2"),
        ("el2n:epochs=20", 8, "el2n: epoch 20 needs 20 epochs, the run has 8; use --epochs 20 or epochs=8"),
        ("loss:epoch=9", 8, "loss: epoch 9 needs 9 epochs"),
        ("aum", 1, "aum: skip 1 needs 2 epochs, the run has 1; use --epochs 2 or skip=0"),
        ("datamap:burn_out=9", 8, "datamap: burn_out 9 needs 9 epochs"),
        ("dual:epochs=30", 8, "dual: epochs 30 needs 30 epochs, the run has 8; use --epochs 30 or epochs=8"),
        ("dual:epochs=5,window=6", 8, "dual: window 6 needs as many epochs, but epochs=5; use epochs=6 or window=5"),
        ("tdds:window=9", 8, "tdds: window 9 needs 9 epochs, the run has 8; use --epochs 9 or window=8"),
        ("tdds", 2, "tdds: window 3 needs 3 epochs, the run has 2; use --epochs 3."),
    ],
)
def test_a_run_that_is_too_short_is_refused_with_what_mends_it(spec: str, epochs: int, message: str):
    scorer = plugins.parse("scorers", spec).build()

    with pytest.raises(OptionError, match=message):
        scorer.settle(epochs)


@pytest.mark.parametrize(
    "spec",
    [
        "el2n:epochs=0",
        "el2n:epochs=3+3",
        "el2n:norm=3",
        "el2n:mode=clean",
        "loss:epoch=0",
        "loss:over=mean,epoch=3",
        "aum:skip=-1",
        "aum:threshold_class=-1",
        "forgetting:convention=none",
        "datamap:burn_out=0",
        "datamap:ambiguous=1",
        "data_iq:low=0.8,high=0.2",
        "data_iq:percentile=0",
        "dyn_unc:window=1",
        "dual:window=1",
        "dual:epochs=1",
        "tdds:window=2",
        "tdds:epochs=2",
        "tdds:beta=0",
    ],
)
def test_an_option_that_means_nothing_is_refused_before_any_work(spec: str):
    method, option = spec.split(":")[0], spec.split(":")[1].split("=")[0]

    with pytest.raises(OptionError, match=method) as caught:
        plugins.parse("scorers", spec).build()

    assert option in str(caught.value) or "epoch" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "epochs", "options"),
    [
        ("el2n", 8, {"epochs": (3,)}),
        ("el2n", 200, {"epochs": (20,)}),
        ("loss", 8, {"epoch": 8}),
        ("dyn_unc", 8, {"window": 4}),
        ("dyn_unc:window=3", 8, {"window": 3}),
        ("dual", 60, {"window": 10, "epochs": 30}),
        ("tdds", 60, {"window": 10, "epochs": 60}),
        ("datamap", 6, {"burn_out": 6}),
    ],
)
def test_what_was_left_open_follows_from_the_run(spec: str, epochs: int, options: dict):
    settled = plugins.options_of(plugins.parse("scorers", spec).build().settle(epochs))

    assert {name: settled[name] for name in options} == options


@pytest.mark.parametrize(
    ("spec", "before", "after"),
    [
        ("el2n", ("eval.el2n",), ("eval.el2n@3",)),
        ("el2n:norm=1,mode=online", ("dynamics.el1",), ("dynamics.el1@3",)),
        ("loss", ("eval.loss",), ("eval.loss@8",)),
        ("loss:over=mean", ("dynamics.loss",), ("dynamics.loss",)),
        ("aum:threshold_class=3", ("dynamics.m_logit", "label"), ("dynamics.m_logit", "label")),
    ],
)
def test_requirements_are_named_before_and_after_the_run_is_known(spec: str, before: tuple, after: tuple):
    scorer = plugins.parse("scorers", spec).build()

    assert (tuple(scorer.requires), tuple(scorer.settle(8).requires)) == (before, after)
