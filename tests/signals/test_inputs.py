import io

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import curate
from curate.errors import InputError
from curate.progress import Silent
from curate.signals.inputs import BROKEN_IMAGE, EMPTY_TEXT, LARGEST_DEFAULT_SIDE, NOT_FINITE, TEXT_BUCKETS, channels_last, prepare

CPU = torch.device("cpu")


def png(size=(8, 6), mode="L", seed=0):
    shape = (size[1], size[0]) if mode in ("L", "I;16") else (size[1], size[0], len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint16 if mode == "I;16" else np.uint8)
    return encoded(Image.fromarray(pixels))


def encoded(image):
    out = io.BytesIO()
    image.save(out, "TIFF" if image.mode == "F" else "PNG")
    return out.getvalue()


def pictures(*contents):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    cells = pa.array([{"bytes": content, "path": None} for content in contents], features.arrow_schema.field(0).type)
    return curate.load(
        datasets.Dataset(
            pa.table({"image": cells, "label": [0, 1] * (len(contents) // 2) + [0] * (len(contents) % 2)}, schema=features.arrow_schema)
        )
    )


def ready(data, **options):
    return prepare(data, CPU, Silent(), **options)


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("L", (1, 6, 8)), ("RGB", (3, 6, 8)), ("RGBA", (3, 6, 8)), ("I;16", (1, 6, 8))],
    ids=["grey", "rgb", "rgba", "16 bit"],
)
def test_grey_images_have_one_channel_and_others_three(mode, shape):
    inputs = ready(pictures(png(mode=mode), png(mode=mode, seed=1)))

    assert inputs.shape == shape and not inputs.failed
    (images,) = inputs.batch(torch.arange(2))
    assert images.shape == (2, *shape) and images.dtype == torch.float32


def test_a_batch_of_everything_has_mean_zero_and_deviation_one():
    (images,) = ready(pictures(*[png(seed=seed) for seed in range(6)])).batch(torch.arange(6))

    assert images.mean().abs() < 1e-5 and (images.std(correction=0) - 1).abs() < 1e-5


@pytest.mark.parametrize("brightest", [255, 4095, 65535], ids=["8 bits", "12 bits", "16 bits"])
def test_sixteen_bits_keep_their_shades_however_many_are_used(brightest):
    dark, bright = np.full((6, 8), brightest // 4, np.uint16), np.full((6, 8), brightest, np.uint16)
    bright[0, 0] = 0

    inputs = ready(pictures(*(encoded(Image.fromarray(pixels)) for pixels in (dark, bright))))

    assert inputs.pixels[0].unique().tolist() == [63] and inputs.pixels[1].unique().tolist() == [0, 255]


def test_images_of_unequal_size_are_brought_to_one():
    inputs = ready(pictures(png((8, 6)), png((20, 30), seed=1), png((5, 5), seed=2)))

    assert len({tuple(inputs.batch(torch.tensor([row]))[0].shape) for row in range(3)}) == 1


def test_a_large_image_is_made_smaller_unless_a_size_is_asked_for():
    data = pictures(png((200, 100)), png((200, 100), seed=1))

    assert max(ready(data).shape[1:]) == LARGEST_DEFAULT_SIDE
    assert ready(data, image_size=16).shape == (1, 16, 16)


@pytest.mark.parametrize("broken", [None, b"", b"no image", png()[:40]], ids=["null", "empty", "text", "truncated"])
def test_a_broken_image_is_named_and_the_others_stay(broken):
    inputs = ready(pictures(broken, png(), png(seed=1)))

    assert inputs.failed == {0: BROKEN_IMAGE}
    assert len(inputs.batch(torch.tensor([1, 2]))[0]) == 2


def test_where_no_image_reads_the_column_is_doubted():
    with pytest.raises(InputError, match=r'No image of .* could be decoded \(2 rows\). Is "image" the image column'):
        ready(pictures(b"", b"no image"))


def test_the_augmented_view_is_a_draw_of_the_generator_alone():
    inputs = ready(pictures(*[png(mode="RGB", seed=seed) for seed in range(4)]))
    rows = torch.arange(4)

    first, again, other = (inputs.batch(rows, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))

    assert torch.equal(first, again) and not torch.equal(first, other) and first.shape == inputs.batch(rows)[0].shape


@pytest.mark.parametrize(
    ("mode", "augment", "mirrors"), [("L", "auto", False), ("RGB", "auto", True), ("L", "flip_crop", True), ("RGB", "crop", False)]
)
def test_only_photographs_are_mirrored_unless_told(mode, augment, mirrors):
    ramp = np.tile(np.linspace(0, 255, 16, dtype=np.uint8), (16, 1))
    out = io.BytesIO()
    Image.fromarray(ramp).convert(mode).save(out, "PNG")
    inputs = ready(pictures(*[out.getvalue()] * 32), augment=augment)

    (seen,) = inputs.batch(torch.arange(32), torch.Generator().manual_seed(0))

    falling = seen[:, 0, 8, 4] > seen[:, 0, 8, 12]
    assert bool(falling.any()) == mirrors


def test_without_augmentation_the_view_is_the_image():
    inputs = ready(pictures(png(), png(seed=1)), augment="none")

    assert torch.equal(inputs.batch(torch.arange(2), torch.Generator())[0], inputs.batch(torch.arange(2))[0])


@pytest.mark.parametrize("text", ["", "   ", None], ids=["empty", "blank", "null"])
def test_an_empty_text_is_named(text):
    assert ready(curate.load(pa.table({"text": ["hello there", text], "label": ["x", "y"]}))).failed == {1: EMPTY_TEXT}


def test_a_text_is_the_set_of_its_words_and_word_pairs():
    inputs = ready(curate.load(pa.table({"text": ["b a", "a b a b", "c"], "label": ["x", "y", "y"]})))

    ids, offsets = inputs.batch(torch.tensor([1, 2]))

    assert offsets.tolist() == [0, 4]  # a, b, "a b", "b a"
    assert len(ids) == 5 and int(ids.max()) < TEXT_BUCKETS


def test_the_sides_of_a_pair_have_buckets_of_their_own_and_need_both():
    inputs = ready(curate.load(pa.table({"premise": ["same", "x"], "hypothesis": ["same", ""], "label": ["x", "y"]})))

    ids, _ = inputs.batch(torch.tensor([0]))

    assert len(ids.unique()) == 2 and inputs.failed == {1: EMPTY_TEXT}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_with_a_number_that_is_none_is_named_and_does_not_move_the_others(bad):
    features = np.float32([[1, 5], [3, 5], [bad, 5]])

    inputs = ready(curate.load((features, np.array([0, 1, 0]))))

    assert inputs.failed == {2: NOT_FINITE}
    torch.testing.assert_close(inputs.batch(torch.arange(2))[0], torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


def test_where_every_row_has_a_gap_it_is_said():
    with pytest.raises(InputError, match="Every row of"):
        ready(curate.load((np.full((3, 2), np.nan, np.float32), np.array([0, 1, 0]))))


def test_test_images_take_size_colours_and_scale_of_the_training_images():
    train = ready(pictures(png((8, 6)), png((8, 6), seed=1)))
    test = ready(pictures(png((20, 30), "RGB", seed=2), png((20, 30), "RGB", seed=3)), like=train)

    again = ready(pictures(png((8, 6)), png((8, 6), seed=1)), like=test)

    assert test.shape == train.shape == (1, 6, 8)
    rows = torch.arange(2)
    torch.testing.assert_close(again.batch(rows)[0], train.batch(rows)[0])


def test_test_vectors_are_scaled_as_the_training_vectors():
    values, labels = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32), np.arange(30) % 2
    train = ready(curate.load((values, labels)))

    (moved,) = ready(curate.load((values[:10] + 5, labels[:10])), like=train).batch(torch.arange(10))

    torch.testing.assert_close(moved, train.batch(torch.arange(10))[0] + 5 / torch.from_numpy(values.std(axis=0)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_laid_out_for_convolutions_has_the_same_numbers(channels):
    images = torch.arange(2.0 * channels * 4 * 5).view(2, channels, 4, 5)
    ids = torch.arange(3)

    laid, untouched = channels_last((images, ids))

    assert torch.equal(laid, images) and untouched is ids
    assert laid.stride() == (20 * channels, 1, 5 * channels, channels)


def test_fractions_of_one_are_brought_to_eight_bits():
    pixels = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)

    (image,) = pictures(encoded(Image.fromarray(pixels))).images(0, 1)

    assert np.asarray(image).tolist() == [[0, 127], [255, 0]]


def test_a_part_of_the_rows_has_the_white_of_all():
    dark, bright = (encoded(Image.fromarray(np.full((2, 2), value, np.uint16))) for value in (1000, 65535))

    (image,) = pictures(dark, bright).select(np.array([0])).images(0, 1)

    assert np.asarray(image).max() == 3
