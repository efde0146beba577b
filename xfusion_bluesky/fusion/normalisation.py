"""Intensity limits that become 0 and 1, as published scores use them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = ["UNIT", "Normalisation"]

_SAMPLE_PIXELS = 2**22


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
