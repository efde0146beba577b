"""Metrics against definitions, and what they make of missing pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xfusion_bluesky.fusion.metrics import (
    Normalisation,
    aad,
    flicker,
    lr_consistency,
    moving_region,
    psnr,
    ssim,
    usable_share,
)
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic
from xfusion_bluesky.fusion.xfusion_metrics import (
    aad_xfusion,
    psnr_xfusion,
    psnr_xfusion_actual,
    ssim_xfusion,
)


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
    with pytest.raises(ValueError, match="no neighbour"):
        moving_region(truth, [truth[1:]])


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


def test_a_dark_pixel_that_counted_nothing_is_not_noise_free():
    truth = np.full((40, 40), 0.002, dtype=np.float32)
    y = poisson(block_mean(truth), 1e3, np.random.default_rng(0))
    assert (y == 0).any()
    assert lr_consistency(truth, y, NoiseModel.from_blank_photons(1e3)) == pytest.approx(1, abs=0.4)


def test_a_region_scores_its_pixels_alone(pair):
    image, truth = pair
    region = np.zeros(truth.shape, dtype=bool)
    region[4:12, 4:30] = True
    inside = (image - truth)[region].astype(float)
    assert psnr(image, truth, region=region) == pytest.approx(-10 * np.log10(np.mean(inside**2)))
    assert aad(image, truth, region=region) == pytest.approx(255 * np.abs(inside).mean(), rel=1e-5)
    assert math.isnan(psnr(image, truth, region=np.zeros_like(region)))
    with pytest.raises(ValueError, match="region of"):
        psnr(image, truth, region=region[1:])


def test_the_moving_region_holds_what_moved_and_a_margin():
    before, after = np.full((2, 40, 60), 0.5, dtype=np.float32)
    here = before.copy()
    here[20, 30] += 0.5
    region = moving_region(here, [before, after])
    assert region[20, 30]
    assert region[16, 30]
    assert region.mean() < 0.06
    noisy = here + np.random.default_rng(0).normal(0, 0.02, here.shape).astype(np.float32)
    assert moving_region(noisy, [before]).mean() < 0.1
    assert not moving_region(here, []).any()
    assert not moving_region(here, [np.full_like(here, np.nan)]).any()
    scaled = moving_region(200 * here + 100, [200 * before + 100], Normalisation(100, 300))
    np.testing.assert_array_equal(scaled, moving_region(here, [before]))


def test_flicker_is_the_error_of_the_change(pair):
    image, truth = pair
    still = truth + 0.1 * (truth < 0.5)
    assert flicker(still, still, truth, truth) == 0
    assert flicker(image, truth, truth, truth) == pytest.approx(aad(image, truth), rel=1e-5)
    assert math.isnan(flicker(image, np.full_like(image, np.nan), truth, truth))
    assert usable_share(image, np.where(truth < 0.5, np.nan, truth)) == (truth >= 0.5).mean()


def test_the_scores_of_xfusion_are_those_of_8_bit_images(pair):
    image, truth = pair
    x, y = np.rint(255.0 * image), np.rint(255.0 * truth)
    mse = np.mean((x - y) ** 2)
    assert psnr_xfusion(image, truth) == pytest.approx(10 * np.log10(255**2 / mse), rel=1e-5)
    assert aad_xfusion(image, truth) == pytest.approx(np.abs(x - y).mean(), rel=1e-5)
    assert psnr_xfusion(truth, truth) == math.inf
    dark = Normalisation(0, 2)
    gap = psnr_xfusion(image, truth, dark) - psnr_xfusion_actual(image, truth, dark)
    assert gap == pytest.approx(6, abs=0.3)  # the peak is that of the reconstruction
    assert 0.9 < ssim_xfusion(image, truth) < 1
    assert ssim_xfusion(image, truth) != pytest.approx(ssim(image, truth), abs=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_metrics_do_not_see_masked_pixels(seed):
    rng = np.random.default_rng(seed)
    image, truth = rng.random((2, 12, 16), dtype=np.float32)
    mask = rng.random((12, 16)) < 0.5
    holed = np.where(mask, image, np.float32(np.nan))
    assert psnr(holed, truth) == pytest.approx(psnr(image, truth, region=mask), nan_ok=True)
    assert aad(holed, truth) == pytest.approx(aad(image, truth, region=mask), nan_ok=True)
    assert usable_share(holed, truth) == mask.mean()
