"""Gaussian conditioning in time and the Kalman update by one LR pixel, in closed form.

Formulas follow the Bayesian fusion of Xue, Leung and Fung, Remote Sensing 9 (2017) 1310.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import Float64Array
from xfusion_bluesky.fusion.operators import SCALE

__all__ = ["Prediction", "condition", "update_blocks"]

_N = SCALE**2

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Regression of the frame at the target on its neighbours, for each cluster.

    ``x = offset + sum_k slope_k x_k`` with error variance `variance`.

    Parameters
    ----------
    offset : (K,) float64
        Intensity.
    slopes : (K, N) float64
        One for each neighbour used.
    variance : (K,) float64
        Squared intensity.
    """

    offset: Float64Array
    slopes: Float64Array
    variance: Float64Array


def condition(
    mean: Float64Array,
    covariance: Float64Array,
    target: int,
    given: tuple[int, ...],
    hr_noise: float,
    floor: float,
) -> Prediction:
    """Condition the series of each cluster on some of its times.

    ``B = S_0N (S_NN + q I)^-1``, ``variance = S_00 - B S_N0``.

    Parameters
    ----------
    mean : (K, T) float64
        Mean series.
    covariance : (K, T, T) float64
        Of the series, positive definite.
    target : int
        Time to predict.
    given : tuple of int
        Times that are known; may be empty: then the mean is the prediction.
    hr_noise : float
        Noise variance q of the frames that are known.
    floor : float
        Least variance.
    """
    picked = list(given)
    joint = covariance[:, picked][:, :, picked] + hr_noise * np.eye(len(picked))
    across = covariance[:, target, picked]
    slopes = across
    if picked:
        # Symmetric, so solving from the left gives the row vector B.
        slopes = np.asarray(np.linalg.solve(joint, across[..., None])[..., 0], dtype=np.float64)
    offset = mean[:, target] - (slopes * mean[:, picked]).sum(axis=1)
    variance = covariance[:, target, target] - (slopes * across).sum(axis=1)
    return Prediction(offset, slopes, np.maximum(variance, floor))


def update_blocks(
    mean: Floats,
    variance: Floats,
    y: Floats,
    r: Floats,
    gain: float = 1.0,
    offset: float = 0.0,
) -> tuple[Floats, Floats]:
    """Correct a prior that is independent from pixel to pixel by the LR frame.

    One scalar observation a block (Sherman-Morrison): with ``s = (g/n)^2 sum v + r`` and
    ``k = (g/n) v / s``, ``x = m + k e`` and ``P = v - (g/n) v k``.

    Parameters
    ----------
    mean, variance : (4 h, 4 w)
        Of the prior, on the fused grid.
    y : (h, w)
        LR frame.
    r : (h, w)
        Its noise variance; inf where it says nothing.
    gain, offset : float
        ``y = gain H x + offset + noise``.

    Returns
    -------
    mean, variance : (4 h, 4 w)
        Of the posterior (the diagonal of its covariance), in the dtype of `mean`.
    """
    tall = (y.shape[0], SCALE, mean.shape[1])
    innovation = y - offset - gain * _binned(mean)
    s = gain**2 / _N * _binned(variance) + r
    k = _columns(gain / _N / s, mean.dtype) * variance.reshape(tall)
    image = mean.reshape(tall) + k * _columns(innovation, mean.dtype)
    left = variance.reshape(tall) * (1 - mean.dtype.type(gain / _N) * k)
    return image.reshape(mean.shape), left.reshape(mean.shape)


def _binned(image: Floats) -> Floats:
    """Block mean in the precision of the image."""
    rows = image[0::SCALE] + image[1::SCALE] + image[2::SCALE] + image[3::SCALE]
    total = rows[:, 0::SCALE] + rows[:, 1::SCALE] + rows[:, 2::SCALE] + rows[:, 3::SCALE]
    mean: Floats = total / _N
    return mean


def _columns(lr: Floats, dtype: npt.DTypeLike) -> Floats:
    """Repeat LR pixels along rows only: the other axis is left to broadcasting."""
    wide: Floats = np.repeat(lr.astype(dtype), SCALE, axis=1)[:, None, :]
    return wide
