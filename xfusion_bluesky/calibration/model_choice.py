"""How many parameters the map between the cameras deserves."""

from __future__ import annotations

import numpy as np

from xfusion_bluesky.calibration.node_pairs import NodePairs
from xfusion_bluesky.calibration.plane_fit import MODELS, fit_plane
from xfusion_bluesky.calibration.record import SpatialModel

__all__ = ["choose_model"]

_FEWEST_PAIRS = 8
_FOLDS = 8
_BLOCK_CELLS = 3.0
_SIGNIFICANT = 2.0
"""Standard errors by which distortion must improve on an affine map."""

_LEAST_DISTORTION = 4.0
"""In standard errors."""


def choose_model(
    pairs: NodePairs, hr_shape: tuple[int, int], mirrored: bool
) -> tuple[SpatialModel, dict[SpatialModel, float]]:
    """Choose the model by how it predicts nodes that were left out of the fit.

    A similarity must be as good as an affine map to be chosen, distortion clearly better. Nodes are
    left out by blocks of cells, as the errors of neighbours are alike.

    Parameters
    ----------
    pairs : NodePairs
        Inliers.
    hr_shape : (int, int)
        Of the HR frames.
    mirrored : bool
        Handedness.

    Returns
    -------
    str, dict
        The model, and the rms error of left-out nodes by model, HR px.
    """
    block = np.floor(pairs.hr_px / (_BLOCK_CELLS * pairs.pitch_px)).astype(np.int64)
    fold = (block[:, 0] * 3 + block[:, 1] * 5 + pairs.view) % _FOLDS
    square = {model: np.full(len(pairs), np.nan) for model in MODELS}
    for k in range(_FOLDS):
        left_out = fold == k
        if not left_out.any() or (~left_out).sum() < _FEWEST_PAIRS:
            continue
        for model in MODELS:
            fit = fit_plane(pairs.only(~left_out), model, hr_shape, mirrored, with_covariance=False)
            away = np.hypot(*(pairs.hr_px[left_out] - fit.at(pairs.lr_px[left_out])).T)
            # A few nodes of broken cells must not choose the model.
            square[model][left_out] = np.minimum(away, 5 * np.median(away)) ** 2
    error = {model: float(np.sqrt(np.nanmean(square[model]))) for model in MODELS}
    bent = square["affine"] - square["affine-radial"]
    by_fold = np.array([np.nanmean(bent[fold == k]) for k in np.unique(fold)])
    spread = by_fold.std(ddof=1) / np.sqrt(len(by_fold)) if len(by_fold) > 1 else np.inf
    if by_fold.mean() > _SIGNIFICANT * spread:
        # Near nodes err alike, also across the blocks; the error of the coefficient knows that.
        fit = fit_plane(pairs, "affine-radial", hr_shape, mirrored)
        if abs(fit.radial_per_px2) > _LEAST_DISTORTION * np.sqrt(fit.covariance[6, 6]):
            return "affine-radial", error
    return ("similarity" if error["similarity"] <= error["affine"] else "affine"), error
