"""`curate lds` and `curate influence` from a score store to their answers."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import curate
from curate.cli import cli
from curate.errors import InputError, OptionError, OtherJobError, UnknownNameError, UsageError
from curate.stages import attributing

ROWS, TARGETS = 80, 12
OPTIONS = {"model": "mlp", "epochs": 4}


def table(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    return x, (x[:, :2].sum(axis=1) + 0.5 * rng.normal(size=n) > 0).astype(np.int64)


@pytest.fixture(scope="module")
def sets():
    return curate.load(table(ROWS, 0)), curate.load(table(TARGETS, 1))


@pytest.fixture(scope="module")
def scores(sets, tmp_path_factory):
    scorers = ["trak:width=128,pairs=true", "aum"]
    return curate.score(sets[0], scorers, target=sets[1], out=tmp_path_factory.mktemp("lds") / "s", **OPTIONS)


@pytest.fixture(scope="module")
def judged(sets, scores, tmp_path_factory):
    out = tmp_path_factory.mktemp("lds") / "l"
    return out, curate.lds(sets[0], target=sets[1], scores=scores, subsets=10, repeats=2, out=out)


def files(store):
    return {
        str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


def test_attributions_are_judged_beside_a_random_one(judged):
    _, found = judged

    assert set(found["lds"]) == {"trak", "random"} and (found["subsets"], found["repeats"], found["targets"]) == (10, 2, TARGETS)
    assert found["lds"]["trak"]["lds"] > found["lds"]["random"]["lds"] and 0 < found["ceiling"] <= 1


def test_another_table_costs_no_training(sets, judged, tmp_path, monkeypatch):
    monkeypatch.setattr(attributing._Retraining, "_train", None)  # would fail if anything were trained again
    np.save(tmp_path / "theirs.npy", np.zeros((ROWS, TARGETS), np.float32))

    found = curate.lds(sets[0], target=sets[1], tables=[tmp_path / "theirs.npy"], subsets=10, repeats=2, out=judged[0], **OPTIONS)

    assert found["lds"]["theirs"]["lds"] == 0


def test_a_kill_costs_the_training_in_flight_and_no_bytes(sets, scores, judged, tmp_path, monkeypatch):
    real, made = attributing._Retraining._one, []

    def interrupted(self, *arguments):
        made.append(0)
        if len(made) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(attributing._Retraining, "_one", interrupted)
    for _ in range(2):
        try:
            curate.lds(sets[0], target=sets[1], scores=scores, subsets=10, repeats=2, out=tmp_path / "l")
        except KeyboardInterrupt:
            continue

    assert len(made) == 21 and files(tmp_path / "l") == files(judged[0])


def test_what_cannot_be_is_said_before_any_training(sets, scores, judged, tmp_path):
    data, target = sets
    with pytest.raises(UsageError, match="--scorer trak:pairs=true"):
        curate.lds(data, target=target, out=tmp_path / "l")
    with pytest.raises(UsageError, match="Add --scores"):
        curate.lds(data, target=target, by=["trak"], out=tmp_path / "l")
    with pytest.raises(OptionError, match="10 subsets or more"):
        curate.lds(data, target=target, scores=scores, subsets=3, out=tmp_path / "l")
    with pytest.raises(UnknownNameError, match="keeps no influence"):
        curate.lds(data, target=target, scores=scores, by=["aum"], out=tmp_path / "l")
    with pytest.raises(InputError, match=f"but there are {ROWS} x 5"):
        curate.lds(data, target=target.select(np.arange(5)), scores=scores, out=tmp_path / "l")
    assert not (tmp_path / "l").exists()
    with pytest.raises(OtherJobError, match="epochs"):
        curate.lds(data, target=target, scores=scores, epochs=5, out=judged[0])


def test_the_commands(scores, tmp_path):
    for name, n, seed in (("rows", ROWS, 0), ("goal", TARGETS, 1)):
        x, y = table(n, seed)
        pd.DataFrame(x).add_prefix("x").assign(label=y).to_csv(tmp_path / f"{name}.csv", index=False)
    np.save(tmp_path / "theirs.npy", np.asarray(scores["trak.influence"]))
    run = CliRunner()

    command = ["lds", str(tmp_path / "rows.csv"), "--target", str(tmp_path / "goal.csv"), "--table", str(tmp_path / "theirs.npy")]
    lds = run.invoke(cli, [*command, "--subsets", "10", "--epochs", "1", "--out", str(tmp_path / "l"), "--quiet"])
    top = run.invoke(cli, ["influence", str(scores.path), "--top", "2", "-o", str(tmp_path / "t.parquet"), "--json"])

    assert lds.exit_code == 0, lds.stderr
    assert "theirs" in lds.stdout and "random" in lds.stdout and "--repeats 2" in lds.stdout
    assert top.exit_code == 0, top.stderr
    written = pd.read_parquet(tmp_path / "t.parquet")
    assert len(written) == 2 * TARGETS and json.loads(top.stdout)["targets"] == TARGETS
    first = written[written["rank"] == 1]
    np.testing.assert_array_equal(first["proponent"], scores["trak.influence"].argmax(axis=0))
    np.testing.assert_array_equal(first["opponent"], scores["trak.influence"].argmin(axis=0))
