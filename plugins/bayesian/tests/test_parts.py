"""Clusters, calibration of the LR camera, evidence and motion, one by one."""

import numpy as np
import pytest
from scipy import ndimage
from xfusion_bayesian.clusters import Moments, cluster, cluster_count, moments, shrunk
from xfusion_bayesian.evidence import excess_power, wiener
from xfusion_bayesian.flow import motion, warped
from xfusion_bayesian.observation import calibrate, fit_line
from xfusion_bayesian.prior import predict

from xfusion_bluesky.fusion.operators import block_mean


def test_the_number_of_clusters_is_the_published_one():
    assert [cluster_count(shape) for shape in ((100, 256), (256, 256), (2, 2))] == [8, 13, 1]


def test_clusters_are_found_and_the_same_each_time():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 0]], dtype=float)
    of = rng.integers(0, 3, 9000)
    series = centres[of] + rng.normal(0, 0.1, (9000, 3))
    labels = cluster(series, 3, 15, seed=0)
    np.testing.assert_array_equal(labels, cluster(series, 3, 15, seed=0))
    learned = moments(series, labels, 3)
    order = np.argsort(learned.mean @ [1, 10, 100])
    np.testing.assert_allclose(learned.mean[order], centres[[0, 2, 1]], atol=0.02)
    np.testing.assert_allclose(learned.covariance, [0.01 * np.eye(3)] * 3, atol=2e-3)
    member = series[labels == 1]
    np.testing.assert_allclose(learned.covariance[1], np.cov(member.T), atol=1e-12)


def test_more_clusters_than_different_series_leaves_some_empty():
    series = np.repeat([[0.0, 0, 0], [1, 1, 1]], 50, axis=0)
    learned = moments(series, cluster(series, 5, 15, seed=0), 5)
    assert learned.count.sum() == 100
    assert np.isfinite(learned.mean).all()
    assert np.isfinite(learned.covariance).all()


def test_small_clusters_lean_on_the_pooled_covariance():
    covariance = np.array([np.eye(2), 9 * np.eye(2)])
    of = Moments(np.array([101.0, 3]), np.zeros((2, 2)), covariance)
    pooled = (100 * 1 + 2 * 9) / 102
    got = shrunk(of, 10)
    np.testing.assert_allclose(got[0], (101 * 1 + 10 * pooled) / 111 * np.eye(2))
    np.testing.assert_allclose(got[1], pooled * np.eye(2))


def test_the_names_of_clusters_do_not_matter():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 60)
    series = rng.normal(size=(60, 3)) + labels[:, None]
    y = series[:, 0].reshape(6, 10)

    class Seen:
        def __init__(self):
            self.image = rng.random((24, 40), dtype=np.float32)
            self.binned = block_mean(self.image)
            self.mask = np.ones((24, 40), dtype=bool)

    frames = [Seen(), Seen()]
    made = []
    for names in (np.arange(4), np.array([2, 0, 3, 1])):
        learned = moments(series, names[labels], 4)
        made.append(predict(frames, y, names[labels], learned, 1e-3, np.ones(4), 1e-9))
    np.testing.assert_allclose(made[0].mean, made[1].mean, atol=1e-5)
    np.testing.assert_allclose(made[0].variance, made[1].variance, rtol=1e-5)


def test_gain_offset_and_noise_of_the_lr_camera_are_found_despite_outliers():
    rng = np.random.default_rng(4)
    u = rng.uniform(0.2, 0.9, 4000)
    v = 1.1 * u - 0.05 + rng.normal(0, 0.01, 4000)
    v[:40] += 0.5
    gain, offset = fit_line(u, v)
    assert gain == pytest.approx(1.1, abs=0.01)
    assert offset == pytest.approx(-0.05, abs=0.01)
    model = calibrate(u[40:], v[40:])
    assert model.variance == pytest.approx(1e-4, rel=0.1)
    np.testing.assert_allclose(model.in_hr_units(np.float32([1.05])), 1, atol=0.01)
    assert calibrate(u[:5], v[:5]) is None
    flat = calibrate(np.full(100, 0.5), np.full(100, 0.52))
    assert (flat.gain, flat.offset) == pytest.approx((1, 0.02))


def test_excess_power_finds_a_change_and_no_noise():
    rng = np.random.default_rng(5)
    noise = np.full((60, 80), 1e-2, dtype=np.float32)
    residual = rng.normal(0, 0.1, (60, 80)).astype(np.float32)
    residual[20:35, 30:50] += 0.4
    everywhere = np.ones((60, 80), dtype=bool)
    found = excess_power(residual, noise, np.zeros_like(noise), everywhere)
    assert found[24:31, 35:45].mean() == pytest.approx(0.16, rel=0.25)
    assert found[40:, 60:].mean() < 1e-3
    prior = np.full_like(noise, 7e-4)
    nowhere = excess_power(residual, noise, prior, ~everywhere)
    np.testing.assert_allclose(nowhere, prior, rtol=1e-4)


def test_the_wiener_gain_keeps_change_and_drops_noise():
    rng = np.random.default_rng(6)
    noise = np.full((60, 80), 1e-2, dtype=np.float32)
    white = rng.normal(0, 0.1, (60, 80)).astype(np.float32)
    assert wiener(white, noise).std() < 0.35 * 0.1
    wide = 0.1 * np.sin(np.arange(80, dtype=np.float32) / 8)[None] * np.ones((60, 1), np.float32)
    kept = wiener(white + wide, noise)
    assert np.square(kept - wide).mean() < 0.3 * np.square(white).mean()
    np.testing.assert_allclose(wiener(white, 1e-8 * noise), white, atol=1e-4)


def test_motion_is_found_and_undone():
    rng = np.random.default_rng(7)
    scene = ndimage.gaussian_filter(rng.random((96, 128)), 4).astype(np.float32)
    there = np.roll(scene, (2, -6), axis=(0, 1))
    flow = motion(block_mean(scene), block_mean(there))
    inner = slice(16, -16)
    np.testing.assert_allclose(np.median(flow[inner, inner], axis=(0, 1)), (-6, 2), atol=0.3)
    back = warped(there, flow)[inner, inner]
    before = np.square(there - scene)[inner, inner].mean()
    assert np.square(back - scene[inner, inner]).mean() < 0.05 * before


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 30), (30, 3), (4, 4), (11, 3)])
def test_motion_of_a_small_field_stays_inside_it(shape):
    """OpenCV's search ended the interpreter for 12 x 120 px."""
    rng = np.random.default_rng(9)
    here, there = rng.random((2, *shape), dtype=np.float32)
    flow = motion(here, there)
    assert flow.shape == (4 * shape[0], 4 * shape[1], 2)
    assert np.isfinite(flow).all()
