"""Metrics against definitions, and what they make of missing pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xfusion_bluesky.fusion.metrics import Normalisation, aad, lr_consistency, psnr, ssim
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic


@pytest.fixture
def pair():
    rng = np.random.default_rng(5)
    truth = rng.random((32, 40), dtype=np.float32)
    return np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32), truth


def test_values_follow_their_definitions(pair):
    image, truth = pair
    error = image.astype(float) - truth
    assert psnr(image, truth) == pytest.approx(-10 * np.log10(np.mean(error**2)), rel=1e-5)
    assert aad(image, truth) == pytest.approx(255 * np.mean(np.abs(error)), rel=1e-5)
    assert 0.5 < ssim(image, truth) < 1


def test_ssim_follows_its_definition_at_one_window(pair):
    image, truth = (a[:11, :11].astype(float) for a in pair)
    axis = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    mx, my = (window * image).sum(), (window * truth).sum()
    vx, vy = (window * image**2).sum() - mx**2, (window * truth**2).sum() - my**2
    covariance = (window * image * truth).sum() - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * covariance + c2)
    expected /= (mx**2 + my**2 + c1) * (vx + vy + c2)
    assert ssim(image, truth) == pytest.approx(expected, rel=1e-4)


def test_identical_images(pair):
    _, truth = pair
    assert psnr(truth, truth) == math.inf
    assert ssim(truth, truth) == pytest.approx(1)
    assert aad(truth, truth) == 0


def test_pixels_that_are_not_finite_are_left_out(pair):
    image, truth = pair
    broken, holed = image.copy(), truth.copy()
    broken[3, 4], holed[20, 20] = np.nan, np.inf
    keep = np.isfinite(broken) & np.isfinite(holed)
    mse = np.mean((image - truth)[keep].astype(float) ** 2)
    assert psnr(broken, holed) == pytest.approx(-10 * np.log10(mse), rel=1e-5)
    assert aad(broken, holed) == pytest.approx(255 * np.abs(image - truth)[keep].mean(), rel=1e-5)
    # Windows that touch a hole do not count: the value under it cannot matter.
    assert ssim(broken, holed) == ssim(np.where(keep, image, np.nan), np.where(keep, truth, 0.3))


def test_nothing_left_is_nan(pair):
    _, truth = pair
    nothing = np.full_like(truth, np.nan)
    assert all(math.isnan(metric(nothing, truth)) for metric in (psnr, ssim, aad))
    assert math.isnan(lr_consistency(nothing, block_mean(truth), NoiseModel(0.1)))


def test_limits_of_the_truth_set_the_scale(pair):
    image, truth = pair
    limits = Normalisation(100.0, 300.0)
    scaled = [200 * a + 100 for a in pair]
    assert psnr(*scaled, limits) == pytest.approx(psnr(image, truth), abs=1e-3)
    np.testing.assert_allclose(limits.undo(limits.apply(scaled[1])), scaled[1], rtol=1e-5)
    assert limits.apply([0.0, 1e9]).tolist() == [0, 1]


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    ),
    st.floats(0, 50),
    st.floats(51, 100),
)
def test_counted_percentiles_are_exact(stack, lower, upper):
    low, high = np.percentile(stack, [lower, upper])
    if high - low < 1e-6:
        return
    found = Normalisation.from_percentiles(stack, lower, upper)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_sampled_percentiles_are_close_and_skip_nan():
    stack = np.random.default_rng(0).random((6, 1000, 1000), dtype=np.float32)
    stack[0, :500] = np.nan
    found = Normalisation.from_percentiles(stack)
    assert (found.low, found.high) == pytest.approx((0.0035, 0.9965), abs=1e-3)
    assert Normalisation.from_percentiles(stack[1]).high == pytest.approx(0.9965, abs=1e-3)


@pytest.mark.parametrize(
    "stack", [np.zeros((1, 4, 4)), np.full((1, 4, 4), np.nan), np.zeros((0, 4, 4))]
)
def test_a_stack_without_contrast_cannot_normalise(stack):
    with pytest.raises(ValueError):
        Normalisation.from_percentiles(stack)


def test_images_that_cannot_be_compared_are_refused(pair):
    image, truth = pair
    with pytest.raises(ValueError, match="one shape"):
        psnr(image, truth[:-1])
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(image[:8, :8], truth[:8, :8])
    with pytest.raises(ValueError, match="cannot explain"):
        lr_consistency(image, truth, NoiseModel())


def test_chi2_is_one_for_the_truth_and_large_for_another_scene():
    rng = np.random.default_rng(7)
    truth = upsample_cubic(rng.uniform(0.3, 0.9, (40, 50)))
    noise = NoiseModel.from_blank_photons(1e3)
    y = poisson(block_mean(truth), 1e3, rng)
    assert lr_consistency(truth, y, noise) == pytest.approx(1, abs=0.1)
    assert lr_consistency(truth[::-1], y, noise) > 2
    assert math.isfinite(lr_consistency(truth[::-1], y, NoiseModel()))
    y[0, 0] = np.inf
    assert lr_consistency(truth, y, noise) == pytest.approx(1, abs=0.1)
