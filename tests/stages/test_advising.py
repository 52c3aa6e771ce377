"""`curate advise` finds what simulated comparisons hide, and refuses where they cannot say."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from curate.cli import cli
from curate.comparison import ARMS, SCHEMA, Comparison
from curate.errors import InputError, OptionError, OtherDatasetError
from curate.laws import FilterLaw
from curate.stages.advising import SHARES, advise
from curate.store import Store

TOTAL, BATCH = 20_000, 100
SIZES = (500, 1000, 2000, 5000, 10_000)
TRUTH = {"a": 2000.0, "b": -0.35, "tau": 4.0, "floor": 0.05}


def law(b=TRUTH["b"]):
    return FilterLaw(*(np.array([value]) for value in (math.log(TRUTH["a"]), b, TRUTH["tau"], TRUTH["floor"])))


def store_of(
    path, steps, *, b_of=lambda share: TRUTH["b"], noise=0.002, seeds=4, sizes=SIZES, dataset=None, budget="steps", off=0.0, **job
):
    """A comparison as `compare` writes it, whose errors are the law's with noise; `b_of` a share is the selections' own.

    `off` is how much less error everything made than the law says.
    """
    rng = np.random.default_rng(steps)
    arms = [("everything", "everything", TOTAL, "every row")]
    arms += [(f"random-{size}", "random", size, "drawn uniformly") for size in sizes]
    arms += [(f"subset-{size}", "selection", size, "top by aum") for size in sizes]
    about = [{"name": n, "kind": k, "rows": r, "policy": p, "baselines": []} for n, k, r, p in arms]
    whole = {"model": "convnet", "batch_size": BATCH, "budget": budget, "seeds": list(range(seeds)), "arms": about, **job}
    store = Store.create(path, "comparison", dataset=dataset or {"fingerprint": "f", "rows": TOTAL}, job=whole, settled={})
    store.describe(ARMS, {})
    for i, (name, kind, size, _) in enumerate(arms):
        made = steps if budget == "steps" else steps * size // TOTAL
        b = b_of(size / TOTAL) if kind == "selection" else TRUTH["b"]
        error = law(b).errors(made * BATCH, size)[0] - (off if kind == "everything" else 0)
        lines = [
            {"arm": name, "seed": seed, "rows": size, "steps": made, "accuracy": 1 - error + noise * rng.standard_normal()}
            for seed in range(seeds)
        ]
        store.add_shard(ARMS, f"arm-{i:03d}.arrow", pa.Table.from_pylist(lines, SCHEMA))
    return path


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Selections whose rows are worth more the fewer are kept."""
    folder = tmp_path_factory.mktemp("comparisons")
    return [store_of(folder / f"{steps}", steps, b_of=lambda share: TRUTH["b"] + 0.03 * math.log(share)) for steps in (200, 2000)]


def test_the_laws_numbers_lie_in_their_intervals(stores):
    found = advise(stores)

    assert found["refused"] is None
    for name, value in TRUTH.items():
        assert found["law"][name]["low"] <= value <= found["law"][name]["high"], name


def best_share(visits):
    shares = np.geomspace(SIZES[0] / TOTAL, 1, 400)
    errors = [law(TRUTH["b"] + 0.03 * math.log(share)).errors(visits, share * TOTAL)[0] for share in shares]
    return shares[int(np.argmin(errors))], errors[-1] - min(errors)


@pytest.mark.parametrize("steps", [200, 2000])
def test_the_advised_share_is_the_best_one_at_that_compute(stores, steps):
    share, gain = best_share(steps * BATCH)

    (policy,) = advise(stores, steps=steps)["policies"]

    step = (SIZES[0] / TOTAL) ** (-1 / (SHARES - 1))  # shares are weighed this far apart
    assert policy["keep"]["low"] / step <= share <= policy["keep"]["high"] * step
    assert policy["gain"]["low"] <= gain <= policy["gain"]["high"]


def test_more_compute_wants_more_rows(stores):
    little, much = (advise(stores, steps=steps) for steps in (100, 10_000))

    assert little["advice"]["policy"] == "top by aum"
    assert little["policies"][0]["keep"]["value"] < much["policies"][0]["keep"]["value"]


def test_everything_is_kept_where_the_selections_rows_are_worth_less(tmp_path):
    made = [store_of(tmp_path / f"{steps}", steps, b_of=lambda share: -0.25) for steps in (200, 2000)]

    found = advise(made)

    assert found["advice"] == {"policy": "everything", "keep": {"value": 1.0, "low": 1.0, "high": 1.0}, "gain": None}


def test_what_the_law_misses_of_everything_is_no_gain_of_a_selection(tmp_path):
    # the selections are as good as random rows, and everything is 2 points better than the law allows
    made = [store_of(tmp_path / f"{steps}", steps, off=0.02) for steps in (200, 2000)]
    measured = float(np.mean([1 - line["accuracy"] for line in Comparison(Store.open(made[1])).table.to_pylist() if line["rows"] == TOTAL]))

    (policy,) = advise(made)["policies"]

    assert policy["error_on_everything"]["value"] == pytest.approx(measured)
    assert policy["keep"]["value"] == 1


def test_what_is_enough_costs_at_most_a_point(stores):
    found = advise(stores, steps=2000)
    (policy,) = found["policies"]

    def over(b, share):
        return law(b).errors(2000 * BATCH, share * TOTAL)[0] - law().errors(2000 * BATCH, TOTAL)[0]

    assert over(TRUTH["b"] + 0.03 * math.log(policy["enough"]), policy["enough"]) <= 0.01
    assert 0 < over(TRUTH["b"], found["random"]["enough"]) <= 0.01
    assert policy["enough"] < found["random"]["enough"]


def test_the_curve_is_checked_on_everything(tmp_path):
    # every error lies on one power law
    made = store_of(tmp_path / "straight", 200)
    store = Store.open(made)
    for i, arm in enumerate(store.job["arms"]):
        lines = [{"arm": arm["name"], "seed": s, "rows": arm["rows"], "steps": 200, "accuracy": 1 - arm["rows"] ** -0.4} for s in range(2)]
        store.forget(ARMS, [f"arm-{i:03d}.arrow"])
        store.add_shard(ARMS, f"arm-{i:03d}.arrow", pa.Table.from_pylist(lines, SCHEMA))

    check = advise(made)["check"]

    assert check["up_to"] == 0.25
    assert check["foretold"]["value"] == pytest.approx(check["measured"]) == pytest.approx(TOTAL**-0.4)


def test_a_curve_without_small_arms_is_not_checked(tmp_path):
    assert advise(store_of(tmp_path / "large", 200, sizes=(5000, 8000, 10_000)))["check"] is None


def test_noise_that_hides_the_gain_gives_no_advice(tmp_path):
    made = [store_of(tmp_path / f"{steps}", steps, noise=0.05, seeds=2) for steps in (200, 2000)]

    assert advise(made)["advice"] is None


def test_equal_epochs_give_the_curve_and_say_why_no_more(tmp_path):
    found = advise(store_of(tmp_path / "epochs", 2000, budget="epochs"))

    assert found["advice"] is None
    assert "equally often" in found["refused"]
    assert set(found["curve"]) == {"power", "piecewise"}


def test_fewer_than_three_sizes_are_refused(tmp_path):
    with pytest.raises(InputError, match="2 sizes, everything included; 3 or more"):
        advise(store_of(tmp_path / "few", 200, sizes=(1000,)))


def test_one_seed_at_as_many_sizes_as_numbers_is_refused(tmp_path):
    found = advise(store_of(tmp_path / "bare", 200, sizes=(500, 5000), seeds=1))

    assert "nothing to tell how sure" in found["refused"]


def test_comparisons_of_other_data_or_another_model_are_refused(stores, tmp_path):
    other = store_of(tmp_path / "data", 200, dataset={"fingerprint": "g", "rows": TOTAL})
    with pytest.raises(OtherDatasetError, match="other data"):
        advise([stores[0], other])

    with pytest.raises(InputError, match="differ in model"):
        advise([stores[0], store_of(tmp_path / "model", 200, model="resnet18")])


@pytest.mark.parametrize("options", [{"steps": 0}, {"epochs": math.nan}, {"steps": 3, "epochs": 2}, {"floor": 1.0}, {"out": "advice.txt"}])
def test_bad_options_are_refused(stores, options):
    with pytest.raises(OptionError):
        advise(stores, **options)


def test_a_floor_above_what_was_measured_is_refused(stores):
    assert "not below the least error" in advise(stores, floor=0.9)["refused"]


def test_the_command_prints_advice_and_draws_it(stores, tmp_path):
    picture = tmp_path / "advice.png"
    words = ["advise", *map(str, stores), "--steps", "100", "-o", str(picture)]

    text = CliRunner().invoke(cli, words, catch_exceptions=False).output
    told = json.loads(CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).output)

    assert f"Keep about {told['advice']['keep']['value']:.0%} by top by aum" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert told["visits"] == 100 * BATCH
