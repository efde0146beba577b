"""The map through pairs of nodes: model, outliers, and whether its errors are honest."""

from __future__ import annotations

import numpy as np
import pytest

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.model_choice import choose_model
from xfusion_bluesky.calibration.node_pairs import NodePairs
from xfusion_bluesky.calibration.plane_fit import fit_plane, ransac_inliers

HR_SHAPE = (800, 1280)
CENTRE = (np.array(HR_SHAPE) - 1) / 2
SIMILARITY = np.array([[3.99, -0.14, 10.0], [0.14, 3.99, -20.0]])
AFFINE = np.array([[4.05, -0.13, 10.0], [0.17, 3.96, -20.0]])
LR_PITCH_PX = 7.7


def true_map(lr, affine, radial=0.0):
    away = lr @ affine[:, :2].T + affine[:, 2] - CENTRE
    return CENTRE + away * (1 + radial * np.square(away).sum(axis=1, keepdims=True))


def node_pairs(rng, affine, radial=0.0, sigma_px=0.1, shape=(200, 320)):
    axes = [np.arange(5, side, LR_PITCH_PX) for side in shape]
    lr = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    hr = true_map(lr, affine, radial) + sigma_px * rng.standard_normal(lr.shape)
    # Independent errors: the pitch is stated small enough that no windows overlap.
    return NodePairs(lr, hr, np.full(len(lr), 0.3), np.zeros(len(lr), int), pitch_px=1.0)


@pytest.mark.parametrize(
    ("affine", "radial", "model"),
    [
        (SIMILARITY, 0.0, {"similarity", "affine"}),
        (SIMILARITY * [1, -1, 1], 0.0, {"similarity", "affine"}),
        (AFFINE, 0.0, {"affine"}),
        (AFFINE, 6e-9, {"affine-radial"}),
    ],
    ids=["similarity", "mirrored", "affine", "distorted"],
)
def test_the_model_is_chosen_by_what_it_predicts(affine, radial, model):
    pairs = node_pairs(np.random.default_rng(3), affine, radial)
    mirrored = np.linalg.det(affine[:, :2]) < 0

    chosen, errors = choose_model(pairs, HR_SHAPE, mirrored)
    fit = fit_plane(pairs, chosen, HR_SHAPE, mirrored)

    assert chosen in model
    assert set(errors) == {"similarity", "affine", "affine-radial"}
    away = fit.at(pairs.lr_px) - true_map(pairs.lr_px, affine, radial)
    assert np.hypot(*away.T).max() < 0.05


def test_wrong_pairs_do_not_move_the_map():
    pairs = node_pairs(np.random.default_rng(4), AFFINE)
    wrong = np.arange(len(pairs)) % 4 == 0
    pairs.hr_px[wrong] += np.random.default_rng(5).uniform(-15, 15, (wrong.sum(), 2))

    near = ransac_inliers(pairs)
    fit = fit_plane(pairs.only(near), "affine", HR_SHAPE, mirrored=False)

    assert near[~wrong].all()
    assert near[wrong].mean() < 0.1
    assert np.hypot(*(fit.at(pairs.lr_px) - true_map(pairs.lr_px, AFFINE)).T).max() < 0.06


def test_pairs_without_a_common_map_are_refused():
    rng = np.random.default_rng(6)
    scattered = node_pairs(rng, AFFINE)
    scattered.hr_px[:] = rng.uniform(0, 800, scattered.hr_px.shape)

    with pytest.raises(CalibrationError, match="agree with one map"):
        ransac_inliers(scattered)
    with pytest.raises(CalibrationError, match="3 of 3 pairs"):
        ransac_inliers(scattered.only(np.arange(len(scattered)) < 3))


def correlated(rng, shape, cells):
    """Errors of nodes whose windows of `cells` (sigma) overlap; unit variance."""
    axes = [np.arange(side) for side in shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    square = np.square(index[:, None] - index[None]).sum(axis=2)
    root = np.linalg.cholesky(np.exp(-square / (4 * cells**2)) + 1e-6 * np.eye(len(index)))
    return index, lambda: root @ rng.standard_normal((len(index), 2))


def test_nine_of_ten_maps_lie_in_their_90_percent_ellipse():
    """Also when neighbours err alike, whatever error was stated for a single node."""
    rng = np.random.default_rng(7)
    index, errors = correlated(rng, (10, 18), cells=0.7)
    lr = 5 + index * LR_PITCH_PX
    at = lr[[0, 90, 179]]
    truth = true_map(at, AFFINE)
    held = []
    for _ in range(60):
        hr = true_map(lr, AFFINE) + 0.2 * errors()
        pairs = NodePairs(lr, hr, np.full(len(lr), 0.05), np.zeros(len(lr), int), 4 * LR_PITCH_PX)
        fit = fit_plane(pairs, "affine", HR_SHAPE, mirrored=False)
        away = fit.at(at) - truth
        distance = np.einsum("ni,nij,nj->n", away, np.linalg.inv(fit.error_px(at)), away)
        held.append(distance < -2 * np.log(0.1))

    assert 0.8 <= np.mean(held) <= 0.98
