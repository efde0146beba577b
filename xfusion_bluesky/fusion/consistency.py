"""What a fused image tells without a truth: does it explain the LR frame, has it detail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import SCALE, block_mean, upsample_nearest

__all__ = ["Consistency", "chi2_map", "detail_energy"]

CONTRADICTS = 2.0
"""An LR pixel with a chi-squared above it contradicts the image."""

_SMALLEST_VARIANCE = 1e-10
_HIGH_QUANTILE = 0.999


@dataclass(frozen=True)
class Consistency:
    """How well a fused image explains the LR frame of its time.

    Parameters
    ----------
    chi2 : float
        Mean chi-squared. About 1 when image and data agree; above 2 the image contradicts the
        data; below 0.5 it has copied their noise. An image made from the LR frame alone agrees
        too: necessary, not sufficient.
    chi2_high : float
        99.9 % quantile over LR pixels.
    contradicted : float
        Share of LR pixels with a chi-squared above 2; 0.16 for pure Gaussian noise.
    residual_rms : float
        Root mean square of ``y - Hx``, in the units of the frames.
    """

    chi2: float
    chi2_high: float
    contradicted: float
    residual_rms: float

    @classmethod
    def of(
        cls,
        image: npt.ArrayLike,
        lr: npt.ArrayLike,
        noise: NoiseModel,
        mask: BoolArray | None = None,
    ) -> Consistency:
        """Compare an image with its LR frame.

        Parameters
        ----------
        image : (H, W)
            Fused image.
        lr : (h, w)
            LR frame of the same time.
        noise : NoiseModel
            Of the LR frame.
        mask : (h, w) bool, optional
            True = usable LR pixel.

        Returns
        -------
        Consistency
            All NaN when no LR pixel can be compared.
        """
        chi2 = chi2_map(image, lr, noise)
        usable = np.isfinite(chi2) if mask is None else np.isfinite(chi2) & mask
        if not usable.any():
            return cls(math.nan, math.nan, math.nan, math.nan)
        values = chi2[usable]
        residual = np.asarray(lr, dtype=np.float32)[usable] - block_mean(image)[usable]
        return cls(
            chi2=float(values.mean(dtype=np.float64)),
            chi2_high=float(np.quantile(values, _HIGH_QUANTILE)),
            contradicted=float((values > CONTRADICTS).mean()),
            residual_rms=math.sqrt(float(np.square(residual).mean(dtype=np.float64))),
        )


def chi2_map(image: npt.ArrayLike, lr: npt.ArrayLike, noise: NoiseModel) -> Float32Array:
    """Squared residual of each LR pixel over its noise variance, ``(y - Hx)^2 / r``.

    Parameters
    ----------
    image : (H, W)
        Fused image.
    lr : (h, w)
        LR frame of the same time; NaN where it is masked.
    noise : NoiseModel
        Gives r, at the value that the image predicts and for one photon at least: at the measured
        value, a dark pixel that happened to count none would seem noise-free. A variance below
        1e-10 counts as 1e-10, so that a noise-free model has a finite (large) answer.

    Returns
    -------
    (h, w) float32
        NaN where image or LR frame is not finite.
    """
    y = np.asarray(lr, dtype=np.float32)
    binned = block_mean(image)
    if binned.shape != y.shape:
        raise ValueError(f"an image binned to {binned.shape} cannot explain LR of {y.shape}")
    with np.errstate(invalid="ignore"):  # infinite pixels become NaN below
        smallest = max(noise.alpha**2 + noise.beta, _SMALLEST_VARIANCE)
        variance = np.maximum(noise.variance(binned), np.float32(smallest))
        chi2: Float32Array = np.square(y - binned) / variance
    chi2[~np.isfinite(chi2)] = np.nan
    return chi2


def detail_energy(image: npt.ArrayLike) -> float:
    """Mean square of what the LR camera cannot see of an image, ``mean (x - U0 H x)^2``.

    Parameters
    ----------
    image : (H, W)
        Image on the fused grid.

    Returns
    -------
    float
        Squared units of the image; NaN when no LR pixel is wholly finite.
    """
    x = np.asarray(image, dtype=np.float32)
    detail = x - upsample_nearest(block_mean(x))
    finite = np.isfinite(detail)
    # A block that holds a NaN has no mean, hence no finite pixel: whole blocks drop out.
    if finite.sum() < SCALE**2:
        return math.nan
    return float(np.square(detail).mean(where=finite, dtype=np.float64))
