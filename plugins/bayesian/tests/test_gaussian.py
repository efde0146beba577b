"""The closed forms against dense linear algebra."""

import numpy as np
import pytest
from xfusion_bayesian.detail import gains
from xfusion_bayesian.gaussian import condition, update_blocks

N = 16


def as_blocks(image):
    h, w = image.shape[0] // 4, image.shape[1] // 4
    return image.reshape(h, 4, w, 4).transpose(0, 2, 1, 3).reshape(h * w, N)


def random_blocks(dtype=np.float64):
    rng = np.random.default_rng(0)
    mean = rng.normal(1, 0.3, (12, 20))
    variance = rng.uniform(1e-3, 1e-1, (12, 20))
    y = rng.normal(1, 0.3, (3, 5))
    r = rng.uniform(1e-4, 1e-2, (3, 5))
    return tuple(part.astype(dtype) for part in (mean, variance, y, r))


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (1.1, -0.05)])
def test_the_update_is_the_dense_kalman_update(gain, offset):
    mean, variance, y, r = random_blocks()
    image, left = update_blocks(mean, variance, y, r, gain, offset)
    h = np.full((1, N), gain / N)
    blocks = zip(
        as_blocks(mean),
        as_blocks(variance),
        y.ravel(),
        r.ravel(),
        as_blocks(image),
        as_blocks(left),
        strict=True,
    )
    for m, v, y_i, r_i, got_mean, got_variance in blocks:
        prior = np.diag(v)
        k = prior @ h.T @ np.linalg.inv(h @ prior @ h.T + r_i)
        np.testing.assert_allclose(got_mean, m + k[:, 0] * (y_i - offset - h @ m), atol=1e-10)
        np.testing.assert_allclose(got_variance, np.diag(prior - k @ h @ prior), atol=1e-10)


def test_single_precision_is_good_enough():
    exact = update_blocks(*random_blocks())
    for a, b in zip(exact, update_blocks(*random_blocks(np.float32)), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, atol=1e-4)


def test_an_exact_lr_frame_is_reproduced_and_a_masked_pixel_changes_nothing():
    mean, variance, y, r = random_blocks()
    image, left = update_blocks(mean, variance, y, 0 * r)
    np.testing.assert_allclose(as_blocks(image).mean(axis=1), y.ravel(), atol=1e-12)
    assert (left < variance).all()
    image, left = update_blocks(mean, variance, y, np.full_like(r, np.inf))
    np.testing.assert_array_equal(image, mean)
    np.testing.assert_array_equal(left, variance)


def test_conditioning_is_the_dense_regression():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 3, 3))
    covariance = root @ root.transpose(0, 2, 1)
    mean, q = rng.normal(size=(6, 3)), 1e-2
    for given in ((1, 2), (1,), (2,), ()):
        found = condition(mean, covariance, 0, given, q, 1e-9)
        for c in range(6):
            joint = covariance[c][np.ix_(given, given)] + q * np.eye(len(given))
            across = covariance[c][0, list(given)]
            slopes = across @ np.linalg.inv(joint)
            np.testing.assert_allclose(found.slopes[c], slopes, atol=1e-10)
            expected = covariance[c, 0, 0] - slopes @ across
            np.testing.assert_allclose(found.variance[c], expected, atol=1e-10)
            offset = mean[c, 0] - slopes @ mean[c, list(given)]
            np.testing.assert_allclose(found.offset[c], offset, atol=1e-10)


def test_equal_neighbours_are_averaged():
    """Static pixels: the covariance has rank one, the ridge decides."""
    covariance = np.full((1, 3, 3), 0.2) + 1e-6 * np.eye(3)
    found = condition(np.zeros((1, 3)), covariance, 0, (1, 2), 0.0, 1e-9)
    np.testing.assert_allclose(found.slopes, 0.5, atol=1e-4)
    same = np.full((2, 2), 0.3)
    for weight in gains(same, 0.0, same, same, same):
        np.testing.assert_allclose(weight, 0.5, atol=1e-6)


def test_block_mean_and_contrasts_decouple():
    """The weights of detail are those of a dense solve of both frames and the LR pixel."""
    v, q, r, s_a, s_b, c = 0.5, 0.05, 0.02, 0.4, 0.3, 0.35
    mean_channel = np.array([[0.9, 0.7, 0.6], [0.7, 0.9, 0.65], [0.6, 0.65, 0.9]])
    detail_channel = np.array([[v, s_a, s_b], [s_a, v, c], [s_b, c, v]])
    ones = np.full((N, N), 1 / N)
    prior = np.kron(mean_channel, ones * N) + np.kron(detail_channel, np.eye(N) - ones)
    observe = np.zeros((2 * N + 1, 3 * N))
    observe[0, :N] = 1 / N
    observe[1:, N:] = np.eye(2 * N)
    noise = np.diag([r] + [q] * (2 * N))
    gain = prior @ observe.T @ np.linalg.inv(observe @ prior @ observe.T + noise)
    seen = np.random.default_rng(2).normal(size=2 * N + 1)
    dense = (gain @ seen)[:N]
    dense_variance = np.diag(prior - gain @ observe @ prior)[:N]

    a, b = seen[1 : N + 1], seen[N + 1 :]
    weights = [w.item() for w in gains(cell(v), q, cell(c), cell(s_a), cell(s_b))]
    detail = weights[0] * (a - a.mean()) + weights[1] * (b - b.mean())
    np.testing.assert_allclose(dense - dense.mean(), detail, atol=1e-10)

    # The means: y with variance r, both frames' block means with q / 16.
    k = mean_channel @ np.linalg.inv(mean_channel + np.diag([r, q / N, q / N]))
    np.testing.assert_allclose(dense.mean(), (k @ [seen[0], a.mean(), b.mean()])[0], atol=1e-10)
    of_mean = (mean_channel - k @ mean_channel)[0, 0]
    of_detail = v - weights[0] * s_a - weights[1] * s_b
    np.testing.assert_allclose(dense_variance, of_mean + (1 - 1 / N) * of_detail, atol=1e-10)


def cell(value):
    return np.array([[value]])
