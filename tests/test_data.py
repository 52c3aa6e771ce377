import io

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import BUCKETS
from curate.errors import ColumnError
from curate.loading import load

NAN = float("nan")


def picture(**options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((2, 3), 7, np.uint8)).save(out, **{"format": "PNG", **options})
    return out.getvalue()


def image_data(*contents):
    features = datasets.Features({"image": datasets.Image()})
    cells = [None if content is None else {"bytes": content, "path": None} for content in contents]
    return load(datasets.Dataset(pa.table({"image": pa.array(cells, features.arrow_schema.field(0).type)}, schema=features.arrow_schema)))


def test_texts_of_a_range_come_as_they_are():
    data = load(pa.table({"text": ["a", "", None, "d"]}))

    assert data.texts(1, 4) == ["", None, "d"]


def test_a_pair_has_two_columns_of_texts():
    data = load(pa.table({"premise": ["p"], "hypothesis": ["h"]}))

    assert (data.texts(0, 1), data.texts(0, 1, 1)) == (["p"], ["h"])


def test_a_conversation_is_rendered_and_its_template_known():
    data = load(pa.table({"prompt": ["1+1=", None], "completion": ["2", None]}))

    assert data.texts(0, 2) == ["1+1=2", None]
    assert data.chat_template is not None and data.chat_template.name == "prompt"


def test_bytes_that_are_no_utf8_become_replacement_characters():
    broken = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(np.int32([0, 1, 3]).tobytes()), pa.py_buffer(b"a\xffb")])

    assert load(pa.table({"text": broken})).texts(0, 2) == ["a", "\ufffdb"]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        b"",
        b"no image",
        picture()[:40],
        picture()[:-28],
        picture(format="JPEG")[:100],
        picture(format="GIF")[:20],
        picture(format="TIFF")[:60],
    ],
    ids=["null", "empty", "text", "head only", "truncated", "jpeg", "gif", "tiff"],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_broken_image_is_none_and_its_neighbours_are_decoded(broken):
    first, second, third = image_data(picture(), broken, picture()).images(0, 3)

    assert second is None
    assert first.size == third.size == (3, 2)


def test_images_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6

    (image,) = image_data(picture(format="JPEG", exif=exif)).images(0, 1)

    assert image.size == (2, 3)


def test_an_image_outside_the_folder_that_was_loaded_is_not_read(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture())
    kind = datasets.Features({"image": datasets.Image()})
    cells = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}], kind.arrow_schema.field(0).type)
    pq.write_table(pa.table({"image": cells}, schema=kind.arrow_schema), tmp_path / "t.parquet")

    assert load(tmp_path / "t.parquet").images(0, 1) == [None]


def test_the_matrix_of_a_table_has_numbers_flags_and_hashed_categories():
    data = load(pa.table({"n": [1, None, 3], "flag": [True, False, None], "x": [0.5, NAN, float("inf")], "c": ["a", None, "a"]}))

    matrix = data.matrix(0, 3)

    np.testing.assert_array_equal(matrix[:, :3], np.float32([[1, 1, 0.5], [NAN, 0, NAN], [3, NAN, float("inf")]]))
    np.testing.assert_array_equal(matrix[:, 3:].sum(axis=1), [1, 0, 1])
    np.testing.assert_array_equal(matrix[0, 3:], matrix[2, 3:])
    assert matrix.shape == (3, data.width) == (3, 3 + BUCKETS) and matrix.dtype == np.float32


def test_a_row_of_the_matrix_does_not_depend_on_the_range_it_is_read_in():
    data = load(pa.table({"c": ["a", "b", "c", None] * 3, "n": range(12)}))

    pieces = [data.matrix(start, start + 4) for start in range(0, 12, 4)]

    np.testing.assert_array_equal(np.concatenate(pieces), data.matrix(0, 12))


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)], ids=str)
def test_an_embedding_is_a_matrix_with_nan_rows_where_it_is_missing(kind):
    data = load(pa.table({"embedding": pa.array([[1, 2], None, [NAN, 4], [5, 6]], kind)}))

    np.testing.assert_array_equal(data.matrix(1, 4), np.float32([[NAN, NAN], [NAN, 4], [5, 6]]))


@pytest.mark.parametrize("vectors, message", [([[1.0], [1.0, 2.0]], "2 different lengths, the first 1 and 2"), ([None, None], "no values")])
def test_vectors_of_different_lengths_are_an_error(vectors, message):
    data = load(pa.table({"embedding": pa.array(vectors, pa.list_(pa.float32()))}))

    with pytest.raises(ColumnError, match=rf'"embedding" has {message}'):
        data.matrix(0, 1)


@pytest.mark.parametrize("method", ["images", "matrix"])
def test_what_a_modality_lacks_is_an_error_that_says_so(method):
    with pytest.raises(ColumnError, match=r"is text data .*--input"):
        getattr(load(pa.table({"text": ["a"]})), method)(0, 1)


def test_a_column_that_is_not_there_is_an_error_with_a_hint():
    with pytest.raises(ColumnError, match=r'No column "txt". Did you mean "text"'):
        load(pa.table({"text": ["a"]})).column("txt")


def test_without_a_label_column_labels_are_an_error():
    with pytest.raises(ColumnError, match=r"no label column; its columns are: text\. .*--label"):
        _ = load(pa.table({"text": ["a"]})).labels


def test_a_selection_keeps_roles_codes_and_order():
    data = load(pa.table({"text": ["a", "b", "c"], "label": ["x", "y", "z"]}))

    chosen = data.select(np.array([2, 1]))

    assert (chosen.texts(0, 2), chosen.labels.tolist(), chosen.label_names) == (["c", "b"], [2, 1], ("x", "y", "z"))
    assert (len(chosen), chosen.recipe, chosen.column("text").to_pylist()) == (2, None, ["c", "b"])


def test_the_schema_is_in_logical_types():
    data = load(pa.table({"text": pa.array(["a"], pa.large_string()), "n": pa.array([1], pa.int8())}))

    assert data.schema == {"text": "string", "n": "int8"}


def test_equal_inputs_have_equal_hashes_whatever_else_the_rows_hold():
    table = pa.table({"text": ["a", "b", "a"], "label": ["x", "y", "y"], "note": ["1", "2", "3"]})
    hashes = load(table, input="text", label="label").input_hashes

    assert hashes[0] == hashes[2] != hashes[1]
