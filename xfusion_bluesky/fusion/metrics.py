"""How close a fused image is to the truth, and whether it agrees with the LR frame.

Every metric leaves pixels out that are not finite in one of its images, and is NaN when no pixel
remains. `psnr` of identical images is ``inf``. JSON holds neither NaN nor inf: write null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import block_mean

__all__ = ["UNIT", "Normalisation", "aad", "lr_consistency", "psnr", "ssim"]

_SAMPLE_PIXELS = 2**22
_SSIM_WINDOW_PX = 11
_SSIM_SIGMA_PX = 1.5
_SMALLEST_VARIANCE = 1e-10


@dataclass(frozen=True)
class Normalisation:
    """Intensity limits that become 0 and 1.

    Parameters
    ----------
    low, high : float
        Intensities; high > low.

    Raises
    ------
    ValueError
        If a limit is not finite or `high` is not above `low`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.high > self.low):
            raise ValueError(
                f"normalisation limits must be finite with high > low, got {self.low}, {self.high};"
                f" is the sequence constant or all NaN?"
            )

    @classmethod
    def from_percentiles(
        cls,
        stack: npt.NDArray[Any] | Sequence[npt.ArrayLike],
        lower: float = 0.35,
        upper: float = 99.65,
    ) -> Normalisation:
        """Limits at two percentiles of a whole sequence, as published results use them.

        Frames are read one by one, so an open file works. Unsigned 8- and 16-bit frames are
        counted in a histogram, exactly; others are sampled on a regular pattern of about four
        million pixels. Pixels that are not finite are left out.

        Parameters
        ----------
        stack : (n, H, W)
            The truth; or one image (H, W).
        lower, upper : float
            Percentiles, 0..100.

        Raises
        ------
        ValueError
            If there is no finite pixel or the two percentiles coincide.
        """
        ndim = getattr(stack, "ndim", 3)
        frames = [np.asarray(stack)] if ndim == 2 else stack
        if len(frames) == 0:
            raise ValueError("percentiles need at least one frame, got none")
        if np.asarray(frames[0]).dtype in (np.uint8, np.uint16):
            low, high = _histogram_percentiles(frames, (lower, upper))
        else:
            low, high = _sampled_percentiles(frames, (lower, upper))
        return cls(low, high)

    def apply(self, image: npt.ArrayLike) -> Float32Array:
        """Scale to the limits and clip to [0, 1]; NaN stays NaN."""
        scaled = np.array(image, dtype=np.float32)
        scaled -= np.float32(self.low)
        scaled *= np.float32(1 / (self.high - self.low))
        return np.clip(scaled, 0, 1, out=scaled)

    def undo(self, image: npt.ArrayLike) -> Float32Array:
        """Scale normalised values back to intensities; what was clipped stays at the limits."""
        scaled = np.asarray(image, dtype=np.float32)
        return scaled * np.float32(self.high - self.low) + np.float32(self.low)


UNIT = Normalisation(0.0, 1.0)
"""For images that are normalised already: only clips to [0, 1]."""


def psnr(image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation = UNIT) -> float:
    """Peak signal-to-noise ratio ``10 log10(L^2 / MSE)`` with L = 1.

    Parameters
    ----------
    image, truth : (H, W)
        Intensities.
    normalisation : Normalisation
        Limits of the truth sequence; the default takes images as normalised.

    Returns
    -------
    float
        dB; inf when the images are equal, NaN when no pixel is finite in both.
    """
    x, y, finite = _normalised_pair(image, truth, normalisation)
    if not finite.any():
        return math.nan
    mse = float(np.square(x - y, dtype=np.float32).mean(where=finite, dtype=np.float64))
    return math.inf if mse == 0 else -10 * math.log10(mse)


def aad(image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation = UNIT) -> float:
    """Average absolute difference on the 8-bit scale, ``255 mean|x - x*|``.

    Parameters
    ----------
    image, truth, normalisation
        As for `psnr`.

    Returns
    -------
    float
        0..255; NaN when no pixel is finite in both.
    """
    x, y, finite = _normalised_pair(image, truth, normalisation)
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


def lr_consistency(image: npt.ArrayLike, lr: npt.ArrayLike, noise: NoiseModel) -> float:
    """Mean chi-squared of the LR frame given the fused image, ``mean (y - Hx)^2 / r``.

    About 1 when the image agrees with the data; above 2 it contradicts them; below 0.5 it has
    copied their noise. `U3 y` passes too: necessary, not sufficient.

    Parameters
    ----------
    image : (H, W)
        Fused image.
    lr : (h, w)
        LR frame of the same time; NaN where it is masked.
    noise : NoiseModel
        Gives r; a variance below 1e-10 counts as 1e-10, so that a noise-free model has a finite
        (large) answer.

    Returns
    -------
    float
        NaN when no pixel is finite in both.
    """
    y = np.asarray(lr, dtype=np.float32)
    binned = block_mean(image)
    if binned.shape != y.shape:
        raise ValueError(f"an image binned to {binned.shape} cannot explain LR of {y.shape}")
    with np.errstate(invalid="ignore"):  # infinite pixels are left out below
        variance = np.maximum(noise.variance(y), np.float32(_SMALLEST_VARIANCE))
        chi2 = np.square(y - binned) / variance
    finite = np.isfinite(chi2)
    return float(chi2.mean(where=finite, dtype=np.float64)) if finite.any() else math.nan


def _normalised_pair(
    image: npt.ArrayLike, truth: npt.ArrayLike, normalisation: Normalisation
) -> tuple[Float32Array, Float32Array, BoolArray]:
    raw_x = np.asarray(image, dtype=np.float32)
    raw_y = np.asarray(truth, dtype=np.float32)
    if raw_x.shape != raw_y.shape or raw_x.ndim != 2:
        raise ValueError(
            f"a metric needs two images of one shape, got {raw_x.shape} and {raw_y.shape}"
        )
    # Before scaling: clipping would turn an infinite pixel into a perfect white one.
    finite = np.isfinite(raw_x) & np.isfinite(raw_y)
    return normalisation.apply(raw_x), normalisation.apply(raw_y), finite


def _histogram_percentiles(
    frames: npt.NDArray[Any] | Sequence[npt.ArrayLike], percentiles: tuple[float, float]
) -> tuple[float, float]:
    counts = np.zeros(2**16, dtype=np.int64)
    for frame in frames:
        counts += np.bincount(np.asarray(frame).ravel(), minlength=2**16)
    cumulative = np.cumsum(counts)
    low, high = (
        np.interp(rank, [np.floor(rank), np.floor(rank) + 1], _ranked(cumulative, rank))
        for rank in (q / 100 * (cumulative[-1] - 1) for q in percentiles)
    )
    return float(low), float(high)


def _ranked(cumulative: npt.NDArray[np.int64], rank: float) -> list[int]:
    """Sorted pixel values at the two ranks around `rank`."""
    below = int(np.floor(rank))
    return [
        int(np.searchsorted(cumulative, min(k, cumulative[-1] - 1), side="right"))
        for k in (below, below + 1)
    ]


def _sampled_percentiles(
    frames: npt.NDArray[Any] | Sequence[npt.ArrayLike], percentiles: tuple[float, float]
) -> tuple[float, float]:
    height, width = np.asarray(frames[0]).shape
    step = max(1, math.ceil(len(frames) * height * width / _SAMPLE_PIXELS))
    while math.gcd(step, width) != 1:  # otherwise only some columns would be sampled
        step += 1
    sample = np.concatenate(
        [np.asarray(frame).ravel()[::step].astype(np.float32) for frame in frames]
    )
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        raise ValueError(f"none of the {len(frames)} frames has a finite pixel to normalise by")
    low, high = np.percentile(sample, percentiles)
    return float(low), float(high)
