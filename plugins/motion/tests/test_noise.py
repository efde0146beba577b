"""Noise is measured where something else is going on, and removed where nothing is."""

import numpy as np
import pytest
from scipy import ndimage
from xfusion_motion.noise_floor import HRNoise, lowest_tenth
from xfusion_motion.resampling import upsample_cubic
from xfusion_motion.shrinkage import shrink

from xfusion_bluesky.fusion import operators


def hr_noise(images):
    details = [x - operators.upsample_cubic(operators.block_mean(x)) for x in images]
    return HRNoise.measure(images, details)


def ramp(shape=(128, 160)):
    return np.broadcast_to(np.linspace(0.1, 0.9, shape[1], dtype=np.float32), shape)


def test_opencv_upsamples_like_the_operator_of_fusion():
    y = np.random.default_rng(0).random((13, 9), dtype=np.float32)
    np.testing.assert_allclose(upsample_cubic(y), operators.upsample_cubic(y), atol=1e-5)


def test_the_quietest_blocks_give_the_noise_of_all():
    rng = np.random.default_rng(0)
    energy = rng.chisquare(15, 4000) / 15
    assert lowest_tenth(energy, 15) == pytest.approx(1, rel=0.05)
    energy[:3000] += 10
    assert lowest_tenth(energy, 15) == pytest.approx(1, rel=0.5)


def test_noise_of_hr_frames_is_found_beside_texture_and_motion():
    rng = np.random.default_rng(1)
    pattern = ndimage.gaussian_filter(rng.random((128, 160)), 1).astype(np.float32)
    frames = [np.where(np.arange(160) > 90 + 4 * t, pattern, ramp()) for t in range(4)]
    noisy = [x + np.float32(0.02) * rng.standard_normal(x.shape, np.float32) for x in frames]
    level = np.full((1, 1), 0.5, dtype=np.float32)
    assert hr_noise(noisy).variance(level).item() == pytest.approx(4e-4, rel=0.3)
    assert hr_noise(frames).variance(level).item() < 4e-6


def test_photon_noise_of_hr_frames_grows_with_the_signal():
    rng = np.random.default_rng(2)
    frames = [rng.poisson(2000 * ramp()).astype(np.float32) / 2000 for _ in range(2)]
    found = hr_noise(frames).variance(np.array([[0.2, 0.8]], dtype=np.float32))
    np.testing.assert_allclose(found, [[0.2 / 2000, 0.8 / 2000]], rtol=0.3)


def test_correlated_noise_is_found_as_well():
    rng = np.random.default_rng(3)
    soft = ndimage.gaussian_filter(rng.standard_normal((2, 128, 160)), (0, 0.8, 0.8))
    frames = list((0.5 + 0.02 * soft / soft.std()).astype(np.float32))
    detail = frames[0] - operators.upsample_cubic(operators.block_mean(frames[0]))
    found = hr_noise(frames).variance(np.full((1, 1), 0.5, dtype=np.float32)).item()
    assert found == pytest.approx(float(np.square(detail).mean()), rel=0.4)


@pytest.mark.parametrize("shape", [(8, 40, 60), (3, 33, 21), (1, 16, 16)])
def test_pure_noise_shrinks_to_nothing(shape):
    residual = np.random.default_rng(4).standard_normal(shape, np.float32)
    shrunk = shrink(residual)
    assert shrunk.estimate.shape == shape
    assert np.sqrt(np.square(shrunk.estimate).mean()) < 0.1
    assert shrunk.variance.mean() < 0.05


@pytest.mark.parametrize("shape", [(8, 5, 7), (1, 1, 12), (2, 9, 3)])
def test_small_fields_are_shrunk_too(shape):
    shrunk = shrink(np.random.default_rng(5).standard_normal(shape, np.float32))
    assert shrunk.estimate.shape == shape
    assert shrunk.variance.shape == shape
    assert np.isfinite(shrunk.estimate).all()


def test_change_survives_and_its_surroundings_stay_quiet():
    rows, columns = np.indices((48, 64))
    change = np.array(
        [8 * np.exp(-((rows - 20) ** 2 + (columns - 20 - t) ** 2) / 18) for t in range(8)]
    )
    noise = np.random.default_rng(6).standard_normal(change.shape)
    shrunk = shrink((change + noise).astype(np.float32))
    error = np.square(shrunk.estimate - change)
    assert error.mean() < 0.05
    assert np.abs(shrunk.estimate[:, :, 48:]).max() < 0.5
    assert shrunk.variance[:, 15:25, 15:35].mean() == pytest.approx(
        error[:, 15:25, 15:35].mean(), rel=1
    )


def test_noise_far_above_the_model_is_noticed_unless_the_scene_accounts_for_it():
    residual = 3 * np.random.default_rng(7).standard_normal((8, 40, 64), np.float32)
    assert np.square(shrink(residual).estimate).mean() < 0.1
    assert np.square(shrink(residual, scene_variance=8).estimate).mean() > 5
