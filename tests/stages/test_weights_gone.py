"""A run whose weights were deleted is trained again only when a clean pass needs them, and gives the same bytes."""

from pathlib import Path

import curate


def test_deleted_weights_cost_a_training_only_where_a_scorer_needs_them(tmp_path: Path):
    data = curate.load("sample:digits", limit=120)
    store = curate.score(data, ["aum"], epochs=4, out=tmp_path / "s").path
    run = next((store / "runs").iterdir())
    weights = run / "checkpoints" / "epoch-00003.safetensors"
    before = weights.read_bytes()
    weights.unlink()

    curate.score(data, ["aum", "datamap"], out=store)
    assert not weights.exists()

    scores = curate.score(data, ["el2n"], out=store)
    assert weights.read_bytes() == before
    assert scores["el2n"].shape == (120,)
