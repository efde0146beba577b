"""Noise models describe the noise they are made from."""

import numpy as np
import pytest

from xfusion_bluesky.fusion.noise import NoiseModel, photons_for_psnr, poisson


def test_variance_is_linear_above_zero_and_constant_below():
    variance = NoiseModel(alpha=0.5, beta=0.25).variance([-1.0, 0.0, 2.0])
    assert variance.dtype == np.float32
    np.testing.assert_array_equal(variance, [0.25, 0.25, 1.25])


def test_photon_noise_has_the_mean_and_variance_that_the_model_says():
    y = np.full((200, 200), 0.6)
    noisy = poisson(y, 1e4, np.random.default_rng(1))
    assert noisy.dtype == np.float32
    assert noisy.mean() == pytest.approx(0.6, rel=1e-3)
    assert noisy.var() == pytest.approx(NoiseModel.from_blank_photons(1e4).variance(0.6), rel=0.05)
    assert poisson(np.full((2, 2), -1.0), 10, np.random.default_rng(0)).max() == 0


def test_a_model_is_recovered_from_dark_and_flat_frames():
    rng = np.random.default_rng(2)
    dark = rng.normal(100, 3, (200, 30, 30))
    flat = rng.normal(100, 3, (200, 30, 30)) + 10 * rng.poisson(50, (200, 30, 30))
    dark_var, flat_var = dark.var(axis=0, ddof=1), flat.var(axis=0, ddof=1)
    dark_var[0, 0] = np.nan
    model = NoiseModel.from_frames(dark_var, flat_var, flat_level=500)
    assert model.alpha == pytest.approx(1 / 50, rel=0.05)
    assert model.beta == pytest.approx(9 / 500**2, rel=0.05)


def test_photon_noise_leaves_gaps_alone():
    noisy = poisson([[0.5, np.nan], [np.inf, 0.2]], 1e4, np.random.default_rng(0))
    assert np.isfinite(noisy).tolist() == [[True, False], [False, True]]
    np.testing.assert_allclose(noisy[[0, 1], [0, 1]], [0.5, 0.2], atol=0.05)


def test_photons_for_a_wanted_psnr():
    assert photons_for_psnr(30, 0.5) == pytest.approx(500)
    noisy = poisson(np.full((300, 300), 0.5), 500, np.random.default_rng(0))
    assert -10 * np.log10(np.mean((noisy - 0.5) ** 2)) == pytest.approx(30, abs=0.1)


def test_noise_free_is_the_default():
    assert NoiseModel().is_noise_free
    assert not NoiseModel(beta=1e-6).is_noise_free


@pytest.mark.parametrize(
    "make",
    [
        lambda: NoiseModel(alpha=-1),
        lambda: NoiseModel(beta=float("nan")),
        lambda: NoiseModel.from_blank_photons(0),
        lambda: NoiseModel.from_frames(np.nan, 1.0),
        lambda: NoiseModel.from_frames(1.0, 2.0, flat_level=0),
        lambda: photons_for_psnr(30, 0),
        lambda: photons_for_psnr(float("nan"), 0.5),
        lambda: poisson(1.0, float("inf"), np.random.default_rng(0)),
    ],
)
def test_impossible_numbers_are_refused(make):
    with pytest.raises(ValueError):
        make()
