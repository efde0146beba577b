"""How close a fused image is to the truth, and whether it agrees with the LR frame.

The data range is declared by a `Normalisation`, never taken from an image: values at its limits
become 0 and 1, and what lies outside is clipped. Every metric leaves pixels out that are not finite
in one of its images, and is NaN when no pixel remains; `usable_share` says how many remained.
`psnr` of identical images is ``inf``. JSON holds neither NaN nor inf: write null.

An image at the time of an input HR frame is mostly a copy of it: count such frames apart. Most of
a scene usually rests, which makes a good score cheap: look at `moving_region` as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.consistency import chi2_map
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.normalisation import UNIT, Normalisation

__all__ = [
    "UNIT",
    "Normalisation",
    "aad",
    "flicker",
    "lr_consistency",
    "moving_region",
    "psnr",
    "ssim",
    "usable_share",
]

_SSIM_WINDOW_PX = 11
_SSIM_SIGMA_PX = 1.5
_MOVING_THRESHOLD = 0.03
_MOVING_SIGMA_PX = 1.0
_MOVING_MARGIN_PX = 3


def psnr(
    image: npt.ArrayLike,
    truth: npt.ArrayLike,
    normalisation: Normalisation = UNIT,
    region: BoolArray | None = None,
) -> float:
    """Peak signal-to-noise ratio ``10 log10(L^2 / MSE)`` with L = 1.

    Parameters
    ----------
    image, truth : (H, W)
        Intensities.
    normalisation : Normalisation
        Limits of the truth sequence; the default takes images as normalised.
    region : (H, W) bool, optional
        Score only these pixels, for instance those of `moving_region`.

    Returns
    -------
    float
        dB; inf when the images are equal, NaN when no pixel is finite in both.
    """
    x, y, finite = _normalised_pair(image, truth, normalisation, region)
    if not finite.any():
        return math.nan
    mse = float(np.square(x - y, dtype=np.float32).mean(where=finite, dtype=np.float64))
    return math.inf if mse == 0 else -10 * math.log10(mse)


def aad(
    image: npt.ArrayLike,
    truth: npt.ArrayLike,
    normalisation: Normalisation = UNIT,
    region: BoolArray | None = None,
) -> float:
    """Average absolute difference on the 8-bit scale, ``255 mean|x - x*|``.

    Parameters
    ----------
    image, truth, normalisation, region
        As for `psnr`.

    Returns
    -------
    float
        0..255; NaN when no pixel is finite in both.
    """
    x, y, finite = _normalised_pair(image, truth, normalisation, region)
    if not finite.any():
        return math.nan
    return 255 * float(np.abs(x - y).mean(where=finite, dtype=np.float64))


def ssim(image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation = UNIT) -> float:
    """Structural similarity with a Gaussian window of 11 px, sigma 1.5 px, L = 1.

    The mean over windows that lie inside the image and hold only finite pixels.

    Parameters
    ----------
    image, truth, normalisation
        As for `psnr`.

    Returns
    -------
    float
        At most 1; NaN when no window is finite.

    Raises
    ------
    ValueError
        If a side is shorter than 11 px.

    References
    ----------
    Z. Wang et al., IEEE Trans. Image Process. 13 (2004) 600.
    """
    # Imported here because it is slow and most users of this module never ask for SSIM.
    from skimage.metrics import structural_similarity

    x, y, finite = _normalised_pair(image, truth, normalisation)
    if min(x.shape) < _SSIM_WINDOW_PX:
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels, got shape {x.shape}")
    margin = _SSIM_WINDOW_PX // 2
    whole = finite if finite.all() else ndimage.minimum_filter(finite, size=_SSIM_WINDOW_PX)
    inside = whole[margin:-margin, margin:-margin]
    if not inside.any():
        return math.nan
    _, similarity = structural_similarity(
        np.where(finite, x, 0),
        np.where(finite, y, 0),
        data_range=1.0,
        gaussian_weights=True,
        sigma=_SSIM_SIGMA_PX,
        use_sample_covariance=False,
        full=True,
    )
    inner = similarity[margin:-margin, margin:-margin]
    return float(inner.mean(where=inside, dtype=np.float64))


def flicker(
    image: npt.ArrayLike,
    previous: npt.ArrayLike,
    truth: npt.ArrayLike,
    previous_truth: npt.ArrayLike,
    normalisation: Normalisation = UNIT,
) -> float:
    """How wrongly the movie changes between two frames, ``255 mean|(x - x_p) - (x* - x*_p)|``.

    Parameters
    ----------
    image, previous : (H, W)
        Fused images of two neighbouring times.
    truth, previous_truth : (H, W)
        What they should be.
    normalisation : Normalisation
        As for `psnr`.

    Returns
    -------
    float
        0..510 on the 8-bit scale; 0 for an error that stands still, NaN when no pixel is finite
        in all four.
    """
    x, y, finite = _normalised_pair(image, truth, normalisation)
    x_previous, y_previous, finite_previous = _normalised_pair(
        previous, previous_truth, normalisation
    )
    if x.shape != x_previous.shape:
        raise ValueError(f"flicker needs frames of one shape, got {x.shape}, {x_previous.shape}")
    finite &= finite_previous
    if not finite.any():
        return math.nan
    error = np.abs((x - x_previous) - (y - y_previous))
    return 255 * float(error.mean(where=finite, dtype=np.float64))


def moving_region(
    truth: npt.ArrayLike,
    neighbours: Sequence[npt.ArrayLike],
    normalisation: Normalisation = UNIT,
    threshold: float = _MOVING_THRESHOLD,
) -> BoolArray:
    """Where the truth differs from an HR frame before or after it: what fusion has to find out.

    The difference to each neighbour is smoothed (Gaussian, 1 px), so that noise of single pixels
    is no motion, and the region is widened by 3 px.

    Parameters
    ----------
    truth : (H, W)
        Scene at the time of the target.
    neighbours : sequence of (H, W)
        HR frames before and after; those there are.
    normalisation : Normalisation
        As for `psnr`.
    threshold : float
        Smallest difference that counts, as a share of the declared range.

    Returns
    -------
    (H, W) bool
        All False without neighbours; pixels that are not finite count as resting.

    Raises
    ------
    ValueError
        If an image has another shape.
    """
    here = normalisation.apply(truth)
    moving = np.zeros(here.shape, dtype=np.bool_)
    for neighbour in neighbours:
        there = normalisation.apply(neighbour)
        if there.shape != here.shape:
            raise ValueError(f"an HR frame of {there.shape} is no neighbour of one of {here.shape}")
        difference = there - here
        np.nan_to_num(difference, copy=False)
        moving |= np.abs(ndimage.gaussian_filter(difference, _MOVING_SIGMA_PX)) > threshold
    size = 2 * _MOVING_MARGIN_PX + 1
    widened: BoolArray = ndimage.maximum_filter(moving, size=size)
    return widened


def usable_share(image: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Share of pixels that are finite in both images, the ones a metric is made of; 0..1."""
    return float(np.isfinite(np.asarray(image) + np.asarray(truth)).mean())


def lr_consistency(image: npt.ArrayLike, lr: npt.ArrayLike, noise: NoiseModel) -> float:
    """Mean chi-squared of the LR frame given the fused image; see `consistency.chi2_map`.

    Parameters
    ----------
    image : (H, W)
        Fused image.
    lr : (h, w)
        LR frame of the same time; NaN where it is masked.
    noise : NoiseModel
        Of the LR frame.

    Returns
    -------
    float
        About 1 for an image that agrees; NaN when no pixel is finite in both.
    """
    chi2 = chi2_map(image, lr, noise)
    finite = np.isfinite(chi2)
    return float(chi2.mean(where=finite, dtype=np.float64)) if finite.any() else math.nan


def _normalised_pair(
    image: npt.ArrayLike,
    truth: npt.ArrayLike,
    normalisation: Normalisation,
    region: BoolArray | None = None,
) -> tuple[Float32Array, Float32Array, BoolArray]:
    raw_x = np.asarray(image, dtype=np.float32)
    raw_y = np.asarray(truth, dtype=np.float32)
    if raw_x.shape != raw_y.shape or raw_x.ndim != 2:
        raise ValueError(
            f"a metric needs two images of one shape, got {raw_x.shape} and {raw_y.shape}"
        )
    # Before scaling: clipping would turn an infinite pixel into a perfect white one.
    finite = np.isfinite(raw_x) & np.isfinite(raw_y)
    if region is not None:
        if region.shape != raw_x.shape:
            raise ValueError(f"a region of {region.shape} does not fit images of {raw_x.shape}")
        finite &= region
    return normalisation.apply(raw_x), normalisation.apply(raw_y), finite
