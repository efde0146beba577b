"""Map from LR to HR pixels through pairs of nodes: similarity, affine, or affine and radial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, spatial

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lattice_nodes import WINDOW_CELLS
from xfusion_bluesky.calibration.node_pairs import NodePairs
from xfusion_bluesky.calibration.record import SpatialModel
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = ["MODELS", "PlaneFit", "fit_plane", "ransac_inliers"]

MODELS: tuple[SpatialModel, ...] = ("similarity", "affine", "affine-radial")
"""From the fewest parameters to the most."""

_HUBER = 1.345
_ROUNDS = 8
_TRIALS = 200
_LEAST_THRESHOLD_PX = 0.3
_FEWEST_PAIRS = 8


@dataclass(frozen=True, eq=False)
class PlaneFit:
    """A fitted map.

    Parameters
    ----------
    model : str
        One of `MODELS`.
    affine : (2, 3) float64
        LR (row, column) to HR (row, column).
    radial_per_px2 : float
        About `centre_px`, as `SpatialCalibration` has it.
    centre_px : (2,) float64
        Middle of the HR frame.
    covariance : (6, 6) or (7, 7) float64
        Of the affine numbers row by row, and of the radial one where it is fitted.
    weight : (n,) float64
        Robust weight of each pair, 1 = fully believed.
    """

    model: SpatialModel
    affine: Float64Array
    radial_per_px2: float
    centre_px: Float64Array
    covariance: Float64Array
    weight: Float64Array

    def at(self, lr_px: Float64Array) -> Float64Array:
        """Map (n, 2) LR positions to HR positions."""
        straight = lr_px @ self.affine[:, :2].T + self.affine[:, 2]
        away = straight - self.centre_px
        square = np.square(away).sum(axis=-1, keepdims=True)
        mapped: Float64Array = self.centre_px + away * (1 + self.radial_per_px2 * square)
        return mapped

    def error_px(self, lr_px: Float64Array) -> Float64Array:
        """Covariance of the mapped position at (n, 2) LR positions, (n, 2, 2) px^2."""
        jacobian = _jacobian(lr_px, self.affine, self.radial_per_px2, self.centre_px)
        used = jacobian[:, :, : len(self.covariance)]
        errors: Float64Array = np.einsum("nip,pq,njq->nij", used, self.covariance, used)
        return errors


def ransac_inliers(pairs: NodePairs, seed: int = 0) -> BoolArray:
    """Find the largest set of pairs that one affine map explains.

    Parameters
    ----------
    pairs : NodePairs
        Eight or more.
    seed : int
        Of the random triples.

    Raises
    ------
    CalibrationError
        Fewer than eight pairs, or fewer than half of them, agree.
    """
    if len(pairs) < _FEWEST_PAIRS:
        raise CalibrationError(_few(len(pairs), len(pairs)))
    rng = np.random.default_rng(seed)
    design = np.column_stack([pairs.lr_px, np.ones(len(pairs))])
    threshold = np.maximum(_LEAST_THRESHOLD_PX, 4 * pairs.sigma_px)
    # Distortion bends the rim away from the best plane; that is for the model to explain.
    threshold = np.maximum(threshold, 0.08 * pairs.pitch_px)
    best = np.zeros(len(pairs), dtype=np.bool_)
    for _ in range(_TRIALS):
        three = rng.choice(len(pairs), 3, replace=False)
        base = design[three]
        if abs(np.linalg.det(base)) < 0.02 * np.prod(np.ptp(pairs.lr_px, axis=0)):
            continue
        affine = np.linalg.solve(base, pairs.hr_px[three])
        inliers = np.hypot(*(pairs.hr_px - design @ affine).T) < threshold
        if inliers.sum() > best.sum():
            best = inliers
    if best.sum() >= _FEWEST_PAIRS:
        affine = np.linalg.lstsq(design[best], pairs.hr_px[best], rcond=None)[0]
        best = np.hypot(*(pairs.hr_px - design @ affine).T) < threshold
    if best.sum() < max(_FEWEST_PAIRS, len(pairs) / 2):
        raise CalibrationError(_few(int(best.sum()), len(pairs)))
    return best


def fit_plane(
    pairs: NodePairs,
    model: SpatialModel,
    hr_shape: tuple[int, int],
    mirrored: bool,
    *,
    with_covariance: bool = True,
) -> PlaneFit:
    """Fit a map by iteratively re-weighted least squares (Huber).

    Parameters
    ----------
    pairs : NodePairs
        Inliers.
    model : str
        One of `MODELS`.
    hr_shape : (int, int)
        Of the HR frames; its middle is the centre of distortion.
    mirrored : bool
        Handedness, which a similarity cannot find by itself.
    with_covariance : bool
        False leaves it zero and saves most of the time.
    """
    centre = (np.array(hr_shape) - 1) / 2
    weight = np.ones(len(pairs))
    affine, radial = _linear(pairs, "affine" if model != "similarity" else model, mirrored, weight)
    for _ in range(_ROUNDS):
        if model == "affine-radial":
            affine, radial = _gauss_newton(pairs, affine, radial, centre, weight)
        else:
            affine, radial = _linear(pairs, model, mirrored, weight)
        fit = PlaneFit(model, affine, radial, centre, np.zeros((6, 6)), weight)
        residual = np.hypot(*(pairs.hr_px - fit.at(pairs.lr_px)).T) / pairs.sigma_px
        # 1.18 sigma is the median length of a 2-D Gaussian.
        limit = _HUBER * float(np.median(residual)) / 1.1774 * np.sqrt(2)
        updated = np.minimum(1.0, limit / np.maximum(residual, 1e-12))
        settled = np.abs(updated - weight).max() < 1e-3
        weight = updated
        if settled:
            break
    covariance = np.zeros((6, 6))
    if with_covariance:
        covariance = _covariance(pairs, affine, radial, centre, weight, model, mirrored)
    return PlaneFit(model, affine, radial, centre, covariance, weight)


def _few(agreeing: int, pairs: int) -> str:
    return (
        f"The map between the cameras cannot be fitted: {agreeing} of {pairs} pairs of mesh nodes "
        f"agree with one map, at least {_FEWEST_PAIRS} and half of them are needed. Let the mesh "
        "fill the field of both cameras, keep it still during the exposure, and take the views "
        "again; nothing was changed."
    )


def _linear(
    pairs: NodePairs, model: SpatialModel, mirrored: bool, weight: Float64Array
) -> tuple[Float64Array, float]:
    scale = (np.sqrt(weight) / pairs.sigma_px)[:, None]
    if model == "similarity":
        solution = np.linalg.lstsq(
            np.concatenate([each * scale for each in _similarity_design(pairs.lr_px, mirrored)]),
            (pairs.hr_px * scale).T.ravel(),
            rcond=None,
        )[0]
        return (_similarity_basis(mirrored) @ solution).reshape(2, 3), 0.0
    design = np.column_stack([pairs.lr_px, np.ones(len(pairs))])
    return linalg.lstsq(design * scale, pairs.hr_px * scale)[0].T, 0.0


def _similarity_basis(mirrored: bool) -> Float64Array:
    """Affine numbers, row by row, over (a, b, row shift, column shift)."""
    sign = -1.0 if mirrored else 1.0
    return np.array(
        [
            [1, 0, 0, 0],
            [0, -sign, 0, 0],
            [0, 0, 1, 0],
            [0, 1, 0, 0],
            [sign, 0, 0, 0],
            [0, 0, 0, 1],
        ],
        dtype=float,
    )


def _similarity_design(lr_px: Float64Array, mirrored: bool) -> tuple[Float64Array, Float64Array]:
    full = _jacobian(lr_px, np.eye(2, 3), 0.0, np.zeros(2))[:, :, :6] @ _similarity_basis(mirrored)
    return full[:, 0], full[:, 1]


def _gauss_newton(
    pairs: NodePairs,
    affine: Float64Array,
    radial: float,
    centre: Float64Array,
    weight: Float64Array,
) -> tuple[Float64Array, float]:
    scale = np.sqrt(weight) / pairs.sigma_px
    for _ in range(3):
        fit = PlaneFit("affine-radial", affine, radial, centre, np.zeros((7, 7)), weight)
        jacobian = _jacobian(pairs.lr_px, affine, radial, centre) * scale[:, None, None]
        residual = (pairs.hr_px - fit.at(pairs.lr_px)) * scale[:, None]
        flat = jacobian.reshape(-1, 7)
        size = np.sqrt(np.square(flat).sum(axis=0))
        step = np.linalg.lstsq(flat / size, residual.ravel(), rcond=None)[0] / size
        affine, radial = affine + step[:6].reshape(2, 3), radial + float(step[6])
    return affine, radial


def _jacobian(
    lr_px: Float64Array, affine: Float64Array, radial: float, centre: Float64Array
) -> Float64Array:
    """Return the derivatives of HR positions with respect to the six numbers and the radial one."""
    away = lr_px @ affine[:, :2].T + affine[:, 2] - centre
    square = np.square(away).sum(axis=1)
    bend = (1 + radial * square)[:, None, None] * np.eye(2)
    bend = bend + 2 * radial * away[:, :, None] * away[:, None, :]
    homogeneous = np.column_stack([lr_px, np.ones(len(lr_px))])
    jacobian = np.empty((len(lr_px), 2, 7))
    jacobian[:, :, :3] = bend[:, :, :1] * homogeneous[:, None, :]
    jacobian[:, :, 3:6] = bend[:, :, 1:] * homogeneous[:, None, :]
    jacobian[:, :, 6] = away * square[:, None]
    return jacobian


def _covariance(
    pairs: NodePairs,
    affine: Float64Array,
    radial: float,
    centre: Float64Array,
    weight: Float64Array,
    model: SpatialModel,
    mirrored: bool,
) -> Float64Array:
    """Covariance of the parameters, scaled by the residuals.

    Errors of nodes whose windows overlap are alike, so there is less to average over than there
    are nodes; without that the error would be stated a factor of two too small.
    """
    jacobian = _jacobian(pairs.lr_px, affine, radial, centre)
    basis = {
        "similarity": np.eye(7, 6) @ _similarity_basis(mirrored),
        "affine": np.eye(7, 6),
        "affine-radial": np.eye(7),
    }[model]
    size = np.sqrt(np.square(jacobian).sum(axis=(0, 1))) + 1e-300
    basis = basis / np.sqrt(np.square(basis * size[:, None]).sum(axis=0))
    design = jacobian @ basis
    precision = weight / pairs.sigma_px**2
    inverse = np.linalg.inv(np.einsum("nip,n,niq->pq", design, precision, design))
    spread = np.zeros_like(inverse)
    for view in np.unique(pairs.view):
        rows = np.flatnonzero(pairs.view == view)
        # Only near nodes are correlated: a sparse matrix, also for thousands of nodes.
        tree = spatial.cKDTree(pairs.hr_px[rows] / pairs.pitch_px)
        near = tree.sparse_distance_matrix(tree, 5 * WINDOW_CELLS, output_type="coo_matrix").tocsr()
        near.data = np.exp(-(near.data**2) / (4 * WINDOW_CELLS**2))
        near.setdiag(1.0)
        for axis in (0, 1):
            part = design[rows, axis] * (precision * pairs.sigma_px)[rows, None]
            spread += part.T @ (near @ part)
    left = pairs.hr_px - PlaneFit(model, affine, radial, centre, np.zeros((7, 7)), weight).at(
        pairs.lr_px
    )
    chi_square = float((precision[:, None] * left**2).sum())
    expected = 2 * float((precision * pairs.sigma_px**2).sum()) - float(np.trace(inverse @ spread))
    scale = chi_square / max(expected, 1.0)
    covariance = basis @ (scale * inverse @ spread @ inverse) @ basis.T
    side = 7 if model == "affine-radial" else 6
    symmetric: Float64Array = (covariance + covariance.T)[:side, :side] / 2
    return symmetric
