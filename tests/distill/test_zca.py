import numpy as np
import pytest
import torch

from curate.distill.zca import ZCA, Standard, load, save

# float32 matrices of some 20 columns, pixels up to 255
ROUNDING = 2e-3


@pytest.fixture
def pixels():
    """Correlated pixels, so that there is something to whiten."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(400, 18)) @ rng.normal(size=(18, 18)) * 12 + 120
    return torch.tensor(mixed.clip(0, 255).round(), dtype=torch.uint8).view(400, 2, 3, 3)


def test_whitened_pixels_have_the_covariance_that_the_ridge_leaves(pixels):
    values = np.linalg.eigvalsh(np.cov(pixels.flatten(1).double().numpy().T / 255))

    white = ZCA.fit(pixels).apply(pixels).flatten(1).double().numpy()

    # an eigenvalue s becomes s / (s + 0.1)
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(np.cov(white.T))), np.sort(values / (values + 0.1)), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", [ZCA, Standard])
def test_inverting_gives_the_pixels_back(kind, pixels):
    transform = kind.fit(pixels)

    back = transform.invert(transform.apply(pixels))

    torch.testing.assert_close(back, pixels.float(), atol=ROUNDING, rtol=0)


def test_other_images_are_whitened_by_the_statistics_of_the_fitted_ones(pixels):
    transform = ZCA.fit(pixels[:300])
    mean = pixels[:300].flatten(1).double().mean(0) / 255

    white = transform.apply(pixels[300:]).flatten(1).double()

    torch.testing.assert_close(white, (pixels[300:].flatten(1).double() / 255 - mean) @ transform.forward.double(), atol=1e-5, rtol=1e-5)


def test_standardised_channels_have_mean_0_and_deviation_1(pixels):
    standard = Standard.fit(pixels).apply(pixels)

    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_a_channel_without_spread_stays_finite():
    flat = torch.full((5, 1, 2, 2), 7, dtype=torch.uint8)

    assert torch.equal(Standard.fit(flat).apply(flat), torch.zeros(5, 1, 2, 2))


@pytest.mark.parametrize("kind", [ZCA, Standard])
def test_a_saved_transform_is_the_same_transform(kind, pixels, tmp_path):
    transform = kind.fit(pixels)

    save(transform, tmp_path / "transform.safetensors")

    assert torch.equal(load(tmp_path / "transform.safetensors").apply(pixels), transform.apply(pixels))
