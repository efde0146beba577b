"""By how much an LR frame lies beside the HR frame of the same time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, ndimage

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import block_mean

__all__ = ["PairShift", "pair_shift"]

_HUBER = 1.345
_SETTLED_PX = 0.005
_FARTHEST_PX = 6.0
_FEWEST_PIXELS = 16


@dataclass(frozen=True, eq=False)
class PairShift:
    """Shift of an LR frame against a binned HR frame.

    Parameters
    ----------
    shift_px : (2,) float64
        Pixels of the fused grid along (row, column) by which the LR frame lies further.
    covariance : (2, 2) float64
        Of it, scaled by what the fit leaves over.
    """

    shift_px: Float64Array
    covariance: Float64Array


def pair_shift(
    hr: Float32Array,
    hr_mask: BoolArray,
    lr: Float32Array,
    lr_mask: BoolArray,
    noise: NoiseModel,
    *,
    rounds: int = 5,
) -> PairShift | None:
    """Fit ``lr = gain H(hr moved by the shift) + offset`` by weighted Gauss-Newton steps.

    Slopes are taken on the fused grid, before binning: those of LR pixels are too flat.

    Parameters
    ----------
    hr : (4 h, 4 w) float32
        HR frame on the fused grid.
    hr_mask : (4 h, 4 w) bool
        True = usable.
    lr : (h, w) float32
        LR frame.
    lr_mask : (h, w) bool
        True = usable.
    noise : NoiseModel
        Of the LR frame; what differs by much more, such as a moving object, counts less.
    rounds : int
        Steps at most; one is enough to see whether anything moved.

    Returns
    -------
    PairShift or None
        None where nothing could show a shift, or the frames do not fit together.
    """
    usable = lr_mask & (block_mean(hr_mask.astype(np.float32)) > 1 - 1e-6)
    usable &= ndimage.binary_erosion(usable, np.ones((3, 3)))  # slopes reach one pixel further
    if usable.sum() < _FEWEST_PIXELS:
        return None
    seen = lr[usable].astype(np.float64)
    precision = 1 / np.maximum(noise.variance(seen), 1e-12)
    precision /= precision.mean()
    shift = np.zeros(2)
    for _ in range(rounds):
        moved = ndimage.shift(hr, shift, order=3, mode="nearest") if shift.any() else hr
        slopes = [block_mean(each)[usable] for each in np.gradient(moved)]
        model = block_mean(moved)[usable]
        design = np.stack([-slopes[0], -slopes[1], model, np.ones_like(model)], axis=1).astype(
            np.float64
        )
        solution, weight, rank = _robust(design, seen, precision)
        gain = solution[2]
        if rank < 4 or gain <= 0:
            return None
        step = solution[:2] / gain
        shift = shift + step
        if np.hypot(*shift) > _FARTHEST_PX:
            return None
        if np.hypot(*step) < _SETTLED_PX:
            break
    left = seen - design @ solution
    inverse = linalg.inv(design.T @ (weight[:, None] * design))
    variance = (weight * left**2).sum() / max(1, len(left) - 4) * _alike(left, usable)
    covariance: Float64Array = inverse[:2, :2] * variance / gain**2
    return PairShift(shift, covariance)


def _robust(
    design: Float64Array, seen: Float64Array, precision: Float64Array
) -> tuple[Float64Array, Float64Array, int]:
    """Weighted least squares with Huber weights: solution, weights, rank."""
    weight = precision
    for _ in range(3):
        root = np.sqrt(weight)[:, None]
        solution, _, rank, _ = linalg.lstsq(design * root, seen * root[:, 0], cond=1e-6)
        left = np.abs(seen - design @ solution) * np.sqrt(precision)
        scale = 1.4826 * float(np.median(left))
        if scale == 0:
            break
        weight = precision * np.minimum(1.0, _HUBER * scale / np.maximum(left, 1e-30))
    return solution, weight, int(rank)


def _alike(left: Float64Array, usable: BoolArray) -> float:
    """Factor by which residuals that resemble their neighbours add to the variance; 1 or more."""
    plane = np.zeros(usable.shape)
    plane[usable] = left
    shared = (plane[1:] * plane[:-1]).sum() + (plane[:, 1:] * plane[:, :-1]).sum()
    return max(1.0, 1 + 2 * float(shared) / max(float(np.square(left).sum()), 1e-30))
