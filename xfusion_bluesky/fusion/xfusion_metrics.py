"""Scores as the XFusion programs compute them, to compare with published tables.

They differ from `metrics` by their definition, not by their quality: images are rounded to 8 bits,
and the SSIM window is uniform. Do not mix the two in one table.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import Float64Array
from xfusion_bluesky.fusion.normalisation import UNIT, Normalisation

__all__ = ["aad_xfusion", "psnr_xfusion", "psnr_xfusion_actual", "ssim_xfusion"]

_WHITE = 255.0


def psnr_xfusion(
    image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation = UNIT
) -> float:
    """PSNR of 8-bit images with peak 255, as for virtual experiments.

    Parameters
    ----------
    image, truth : (H, W)
        Intensities.
    normalisation : Normalisation
        Limits that become 0 and 255.

    Returns
    -------
    float
        dB; inf when the rounded images are equal, NaN when a pixel is not finite.
    """
    return _psnr(_eight_bit(image, normalisation), _eight_bit(truth, normalisation), _WHITE)


def psnr_xfusion_actual(
    image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation = UNIT
) -> float:
    """PSNR with the maximum of the reconstruction as peak, as for real camera pairs.

    A dark reconstruction scores lower for the same error: scores of two methods do not compare.
    Parameters and result are those of `psnr_xfusion`.
    """
    x = _eight_bit(image, normalisation)
    return _psnr(x, _eight_bit(truth, normalisation), float(x.max()))


def aad_xfusion(
    image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation = UNIT
) -> float:
    """Mean absolute difference of 8-bit images in grey levels; parameters as `psnr_xfusion`."""
    x, y = _eight_bit(image, normalisation), _eight_bit(truth, normalisation)
    return float(np.abs(x - y).mean())


def ssim_xfusion(
    image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation = UNIT
) -> float:
    """SSIM of 8-bit images with a uniform window of 7 px and sample covariance.

    These are the defaults of scikit-image, with data range 255; parameters as `psnr_xfusion`.

    Raises
    ------
    ValueError
        If a side is shorter than 7 px.
    """
    from skimage.metrics import structural_similarity

    x, y = _eight_bit(image, normalisation), _eight_bit(truth, normalisation)
    return float(structural_similarity(x, y, data_range=_WHITE))


def _eight_bit(image: npt.ArrayLike, normalisation: Normalisation) -> Float64Array:
    scaled: Float64Array = np.rint(normalisation.apply(image).astype(np.float64) * _WHITE)
    return scaled


def _psnr(image: Float64Array, truth: Float64Array, peak: float) -> float:
    mse = float(np.square(image - truth).mean())
    if math.isnan(mse):
        return math.nan
    if mse == 0:
        return math.inf
    return 10 * math.log10(peak**2 / mse) if peak > 0 else -math.inf
