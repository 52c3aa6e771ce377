"""curate embed: one vector a row, in resumable shards, and the samplers that read them."""

import io
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

import curate
from curate.embeddings import Embeddings
from curate.errors import (
    ColumnError,
    DamagedStoreError,
    DoesNotFitError,
    InputError,
    OptionError,
    OtherDatasetError,
    OtherJobError,
    TooManyFailuresError,
    UsageError,
)
from curate.store import Store

TEXTS = [f"{animal} number {i} {verb}s" for i, (animal, verb) in enumerate([("cat", "sleep"), ("dog", "bark"), ("fish", "swim")] * 20)]


@pytest.fixture
def texts():
    return curate.load(datasets.Dataset.from_dict({"text": TEXTS, "label": [i % 3 for i in range(60)]}))


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("log.jsonl", ".lock")
    }


def test_texts_of_a_kind_lie_together(texts, tmp_path):
    matrix = curate.embed(texts, out=tmp_path / "e", encoder="tfidf", dimensions=8).matrix

    similarity = matrix @ matrix.T
    kind = np.arange(60) % 3
    same = (kind[:, None] == kind) & ~np.eye(60, dtype=bool)
    assert matrix.shape == (60, 8) and matrix.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-5)
    assert similarity[same].mean() > similarity[kind[:, None] != kind].mean() + 0.3


def test_pixels_keep_the_largest_spread(tmp_path):
    data = curate.load("sample:digits", limit=200)
    pixels = np.stack([np.asarray(image, np.float64).reshape(-1) / 255 for image in data.images(0, 200)])
    centred = pixels - pixels.mean(axis=0)

    matrix = curate.embed(data, out=tmp_path / "e", dimensions=5, shard_rows=64).matrix

    spread = np.linalg.svd(centred, compute_uv=False)[:5] ** 2 / 200
    np.testing.assert_allclose(matrix.astype(np.float64).var(axis=0), spread, rtol=1e-3)


def test_vectors_that_are_there_are_taken(tmp_path):
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    x[4, 1] = np.nan

    made = curate.embed((x, np.arange(9) % 2), out=tmp_path / "e", max_failures=0.2)

    np.testing.assert_array_equal(made.matrix, np.where((np.arange(9) == 4)[:, None], np.nan, x))
    assert made.failed == {"not_finite": 1}


def test_a_killed_job_goes_on_with_the_same_bytes_however_it_was_cut(texts, tmp_path):
    whole = curate.embed(texts, out=tmp_path / "whole", encoder="tfidf", dimensions=4, shard_rows=17)
    part = curate.embed(texts, out=tmp_path / "part", encoder="tfidf", dimensions=4, shard_rows=17)
    Store.open(part.path).forget("embeddings", ["part-00001.arrow", "part-00003.arrow"])
    with pytest.raises(InputError, match="of 60 embeddings"):
        Embeddings.open(part.path)

    curate.embed(texts, out=tmp_path / "part", encoder="tfidf", dimensions=4)

    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    one = curate.embed(texts, out=tmp_path / "one", encoder="tfidf", dimensions=4)
    np.testing.assert_allclose(one.matrix, whole.matrix, atol=1e-6)


def test_rows_without_content_have_no_vector_and_are_not_selected(tmp_path):
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 30)).save(sink, "PNG")
    cells = [{"bytes": sink.getvalue() if i % 5 else b"broken", "path": None} for i in range(20)]
    features = datasets.Features({"image": datasets.Image(), "number": datasets.Value("int64")})
    data = curate.load(datasets.Dataset.from_dict({"image": cells, "number": list(range(20))}, features=features))

    with pytest.raises(TooManyFailuresError, match="4 of 20 rows"):
        curate.embed(data, out=tmp_path / "e")
    made = curate.embed(data, out=tmp_path / "e", max_failures=0.5)
    chosen = curate.select(data, embeddings=made, sampler="k_center", budget=16)

    assert made.failed == {"broken_image": 4}
    assert not set(chosen.rows.tolist()) & {0, 5, 10, 15}


@pytest.mark.parametrize("sampler", ["k_center", "herding", "facility_location", "density"])
def test_every_sampler_of_vectors_selects_from_a_store(texts, tmp_path, sampler):
    curate.embed(texts, out=tmp_path / "e", dimensions=8)

    chosen = curate.select(texts, embeddings=tmp_path / "e", sampler=sampler, budget=9, per_class=True, out=tmp_path / "sub")

    assert len(chosen) == 9 and np.bincount(texts.labels[chosen.rows]).tolist() == [3, 3, 3]
    assert chosen.job["embeddings"]["encoder"] == "static"


def test_show_and_verify_know_a_store_of_embeddings(texts, tmp_path):
    from click.testing import CliRunner

    from curate.cli import cli

    curate.embed(texts, out=tmp_path / "e", encoder="tfidf", dimensions=4)

    shown, verified = (CliRunner().invoke(cli, [command, str(tmp_path / "e")]) for command in ("show", "verify"))

    assert shown.output == f"{tmp_path / 'e'}: 60 vectors by tfidf, float32\n"
    assert verified.output == "2 files, all whole\n"


def test_texts_without_a_word_have_no_vector(tmp_path):
    data = curate.load(datasets.Dataset.from_dict({"text": [*TEXTS[:20], "!!!", "", "?"]}))

    assert curate.embed(data, out=tmp_path / "e", encoder="tfidf", dimensions=4, max_failures=0.2).failed == {"no_word": 2, "empty_text": 1}


def test_other_columns_or_shards_of_the_same_data_are_another_job(tmp_path):
    table = datasets.Dataset.from_dict({"a": TEXTS[:20], "b": TEXTS[20:40]})
    curate.embed(curate.load(table, input="a"), out=tmp_path / "e", dimensions=4)

    with pytest.raises(OtherJobError, match="embeddings of a, here the input is b"):
        curate.embed(curate.load(table, input="b"), out=tmp_path / "e", dimensions=4)
    with pytest.raises(OtherJobError, match="Leave --shard-rows out"):
        curate.embed(curate.load(table, input="a"), out=tmp_path / "e", dimensions=4, shard_rows=7)


def test_vectors_as_data_need_no_store():
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)

    assert len(curate.select(curate.load(x), sampler="k_center", budget=5)) == 5


def test_texts_without_a_store_are_told_how_to_embed(texts):
    with pytest.raises(UsageError, match="curate embed DATA --out embeddings"):
        curate.select(texts, sampler="k_center", budget=5)


def test_embeddings_that_no_sampler_reads_serve_the_report(texts, tmp_path):
    curate.embed(texts, out=tmp_path / "e")

    coverage = curate.select(texts, embeddings=tmp_path / "e", sampler="random", budget=5).report["coverage"]

    assert set(coverage["kept"]) == set(coverage["random"]) and 0 < coverage["kept"]["coverage"] <= 1


def test_embeddings_of_other_rows_are_refused(texts, tmp_path):
    curate.embed(texts.select(np.arange(30)), out=tmp_path / "e", dimensions=4)

    with pytest.raises(OtherDatasetError):
        curate.select(texts, embeddings=tmp_path / "e", sampler="k_center", budget=5)
    with pytest.raises(OtherJobError):
        curate.embed(texts, out=tmp_path / "e", dimensions=4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encoder": "pixel"}, OptionError, 'Did you mean "pixels"'),
        ({"encoder": "pixels"}, ColumnError, "reads images, but"),
        ({"encoder": "tfidf:x"}, OptionError, "takes nothing behind a colon"),
        ({"encoder": "column"}, ColumnError, "column:NAME"),
        ({"encoder": "column:vector"}, ColumnError, "vector"),
        ({"encoder": "sentence"}, OptionError, "needs a name behind a colon"),
        ({"encoder": "run:nowhere"}, InputError, 'There is no folder "nowhere"'),
        ({"encoder": "hf:nowhere", "dimensions": 3}, OptionError, "Leave out --dimensions"),
        ({"dimensions": 0}, OptionError, "dimensions must be 1 or more"),
        ({"dtype": "float8"}, OptionError, "float32 or float16"),
    ],
)
def test_what_cannot_be_embedded_is_refused(texts, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        curate.embed(texts, out=tmp_path / "e", **options)


def test_float16_halves_the_disk_and_refuses_what_it_cannot_hold(tmp_path):
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    assert curate.embed(curate.load(x), out=tmp_path / "e", dtype="float16").matrix.dtype == np.float16

    with pytest.raises(DoesNotFitError, match="65504"):
        curate.embed(curate.load(1e6 * x), out=tmp_path / "large", dtype="float16")
    with pytest.raises(DoesNotFitError, match="Row 0 has numbers too small"):
        curate.embed(curate.load(1e-9 * x), out=tmp_path / "small", dtype="float16")


def test_several_shards_are_joined_once_and_mended_where_the_file_was_cut(texts, tmp_path):
    one = curate.embed(texts, out=tmp_path / "one")
    many = curate.embed(texts, out=tmp_path / "many", shard_rows=7)

    first = many.matrix
    assert isinstance(first, np.memmap) and np.array_equal(first, one.matrix)
    (joined,) = (tmp_path / "many" / "kept").glob("*.npy")
    whole = joined.read_bytes()
    for damaged in (whole[:300], b"", whole[:-5] + b"curve"):
        joined.write_bytes(damaged)
        assert np.array_equal(Embeddings.of(tmp_path / "many", texts).matrix, one.matrix)
    joined.write_bytes(b"")
    assert np.array_equal(Embeddings.open(tmp_path / "many").matrix, one.matrix)


@pytest.mark.parametrize("shard_rows", [None, 7], ids=["one shard", "several shards"])
@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:700] + b"curve" + b[705:]], ids=["cut", "empty", "changed"]
)
def test_a_shard_that_was_cut_or_changed_is_named_and_made_anew_by_the_same_command(texts, tmp_path, shard_rows, damage):
    place = tmp_path / "e"
    made = curate.embed(texts, out=place, shard_rows=shard_rows).matrix.copy()
    shutil.rmtree(place / "kept", ignore_errors=True)
    shard = place / "embeddings" / "part-00000.arrow"
    shard.write_bytes(damage(shard.read_bytes()))

    with pytest.raises(DamagedStoreError, match=r"part-00000\.arrow.*recomputes only"):
        curate.select(texts, embeddings=place, sampler="k_center", budget=3)

    assert np.array_equal(curate.embed(texts, out=place, shard_rows=shard_rows).matrix, made)


def test_what_is_no_store_of_embeddings_is_told_what_makes_one(texts, tmp_path):
    with pytest.raises(InputError, match="curate embed DATA --out DIR` makes one"):
        curate.select(texts, embeddings=tmp_path / "none", sampler="k_center", budget=3)
