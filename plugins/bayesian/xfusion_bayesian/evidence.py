"""How far an image is from the LR frame, and how much of that is noise."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array

__all__ = ["excess_power", "smooth", "wiener"]

_COARSE_TO_FINE_PX = (5.0, 2.5, 1.2, 0.6)
_SIGNIFICANT = 2.0
_BANDS_PX = (0.7, 1.4, 2.8)
_TINY = np.float32(1e-30)


def smooth(image: Float32Array, sigma_px: float) -> Float32Array:
    """Smooth by a Gaussian, mirrored at the border.

    Parameters
    ----------
    image : (h, w) or (h, w, 2) float32
        Any.
    sigma_px : float
        Standard deviation in pixels of `image`.
    """
    return np.asarray(
        cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT), dtype=np.float32
    )


def excess_power(
    residual: Float32Array, noise: Float32Array, prior: Float32Array, mask: BoolArray
) -> Float32Array:
    """Estimate what a squared residual has beyond the LR noise, pixel by pixel.

    From coarse to fine, the estimate moves from its prior to the local mean of
    ``residual^2 - noise`` only as far as the difference is significant: by the positive-part
    shrinkage of James and Stein, with twice the standard error of a mean of squares as threshold.

    Parameters
    ----------
    residual : (h, w) float32
        LR frame minus the block mean of an image.
    noise : (h, w) float32
        Variance of the LR frame.
    prior : (h, w) float32
        Expected excess, >= 0, where the residual tells nothing.
    mask : (h, w) bool
        False = the LR pixel says nothing.

    Returns
    -------
    (h, w) float32
        >= 0, in squared units of the residual.

    References
    ----------
    W. James, C. Stein, Proc. Fourth Berkeley Symp. 1 (1961) 361.
    """
    excess = np.where(mask, np.square(residual) - noise, prior)
    estimate = prior
    for sigma_px in _COARSE_TO_FINE_PX:
        samples = 4 * math.pi * sigma_px**2
        difference = smooth(excess, sigma_px) - estimate
        threshold = (_SIGNIFICANT**2 * 2 / samples) * np.square(estimate + noise)
        squared = np.square(difference)
        share = np.maximum(squared - threshold, 0) / np.maximum(squared, _TINY)
        estimate = np.maximum(estimate + share * difference, 0)
    return np.asarray(estimate, dtype=np.float32)


def wiener(residual: Float32Array, noise: Float32Array) -> Float32Array:
    """Keep of a residual what exceeds the LR noise, in bands of different size.

    A change that extends over many LR pixels is found far below the noise of one. Each band is
    multiplied by ``max(P - r, 0) / P`` with its local power P and its share r of the noise, raised
    by one standard error of P.

    Parameters
    ----------
    residual : (h, w) float32
        LR frame minus its prediction; 0 where masked.
    noise : (h, w) float32
        Variance of the LR frame.

    Returns
    -------
    (h, w) float32
        Unit of the residual; the residual itself as the noise goes to 0.
    """
    kept = np.zeros_like(residual)
    left = residual
    for place, share in enumerate(_noise_shares()):
        last = place == len(_BANDS_PX)
        sigma_px = _BANDS_PX[min(place, len(_BANDS_PX) - 1)]
        below = np.zeros_like(left) if last else smooth(left, sigma_px)
        band = left - below
        window = 2.0 if last else 1.5
        power = smooth(np.square(band), window * sigma_px)
        # Independent values under the window: its area over that of the band's own smoothing.
        samples = 2 * window**2
        expected = np.float32(share * (1 + math.sqrt(2 / samples))) * noise
        kept += band * (np.maximum(power - expected, 0) / np.maximum(power, _TINY))
        left = below
    return kept


@lru_cache(maxsize=1)
def _noise_shares() -> tuple[float, ...]:
    """Variance of each band of white noise of variance 1."""
    impulse = np.zeros((65, 65), dtype=np.float32)
    impulse[32, 32] = 1
    shares = []
    for sigma_px in _BANDS_PX:
        below = smooth(impulse, sigma_px)
        shares.append(float(np.square(impulse - below).sum()))
        impulse = below
    return (*shares, float(np.square(impulse).sum()))
