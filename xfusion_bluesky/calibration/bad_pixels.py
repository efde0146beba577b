"""Pixels that do not see, glow, flicker on their own or are at the end of the scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from xfusion_bluesky.calibration.frame_statistics import FrameStatistics
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array

__all__ = ["BadPixels"]

_LEAST_LEVEL = 0.01
_LEAST_RESPONSE = 0.25
_NEIGHBOURHOOD_PX = 3
_OUTLIER = 8.0
_LEAST_GLOW = 0.02
_UNSTABLE = 6.0
_LEAST_EXCESS = 3.0
_FEWEST_DEGREES = 3.0
_MOST_SATURATED = 0.05
"""What noise clips of the other frames changes their mean by less than 2 % of its width."""

_SMALLEST_VARIANCE = 0.25
"""Of rounding: the most that a noise-free pixel between two counts shows, counts^2."""


@dataclass(frozen=True, eq=False)
class BadPixels:
    """Masks of one camera, (H, W) bool each, True where a pixel is bad.

    Parameters
    ----------
    dead : bool array
        Flat above dark below 1 % of the median, or below a quarter of the neighbourhood. Dust and
        dark corners of the beam stay above that: the flat corrects them.
    hot : bool array
        Dark above its neighbourhood by 8 robust standard deviations and by 2 % of the flat.
    unstable : bool array
        More than 3 times as noisy as pixels of its level, in dark or flat, beyond chance.
    saturated : bool array
        At the end of the scale in more than 5 % of the frames of the flat or dark.
    """

    dead: BoolArray
    hot: BoolArray
    unstable: BoolArray
    saturated: BoolArray

    @classmethod
    def of(cls, dark: FrameStatistics, flat: FrameStatistics) -> BadPixels:
        """Find them in the references of one camera.

        Parameters
        ----------
        dark, flat : FrameStatistics
            Of frames without beam, and with beam but without sample.
        """
        level = flat.mean - dark.mean
        median = float(np.median(level))
        dead = (level < _LEAST_LEVEL * median) | (level < _LEAST_RESPONSE * _around(level))
        glow = dark.mean - _around(dark.mean)
        usual = 1.4826 * float(np.median(np.abs(glow - np.median(glow))))
        hot = glow > max(_OUTLIER * usual, _LEAST_GLOW * median, _SMALLEST_VARIANCE)
        unstable = _noisy(dark, np.zeros_like(level)) | _noisy(flat, level)
        saturated = np.maximum(flat.saturated, dark.saturated) > _MOST_SATURATED
        return cls(dead, hot, unstable, saturated)

    @property
    def mask(self) -> BoolArray:
        """True where a pixel is bad for any reason."""
        every: BoolArray = self.dead | self.hot | self.unstable | self.saturated
        return every

    @property
    def count(self) -> int:
        """Number of bad pixels."""
        return int(self.mask.sum())


def _around(image: Float32Array) -> Float32Array:
    """Return the median of each pixel's neighbourhood."""
    median: Float32Array = ndimage.median_filter(image, size=_NEIGHBOURHOOD_PX, mode="nearest")
    return median


def _noisy(frames: FrameStatistics, level: Float32Array) -> BoolArray:
    degrees = frames.degrees
    if degrees < _FEWEST_DEGREES:
        return np.zeros(level.shape, dtype=np.bool_)
    usual = _usual_variance(frames.variance, level)
    ratio = frames.variance / np.maximum(usual, _SMALLEST_VARIANCE)
    # Wilson and Hilferty (1931): the cube root of chi^2 / degrees is nearly normal.
    width = math.sqrt(2 / (9 * degrees))
    limit = (1 - width**2 + _UNSTABLE * width) ** 3
    noisy: BoolArray = ratio > max(_LEAST_EXCESS, limit)
    return noisy


def _usual_variance(variance: Float32Array, level: Float32Array) -> Float32Array:
    """Return the variance that pixels of a level usually have: medians of 16 classes, joined."""
    low, high = (float(each) for each in np.percentile(level, (1, 99)))
    if not high > low:
        return np.full(level.shape, np.median(variance), dtype=np.float32)
    edges = np.linspace(low, high, 17)
    place = np.clip(np.digitize(level, edges) - 1, 0, 15)
    known, centres, medians = [], (edges[1:] + edges[:-1]) / 2, []
    for each in range(16):
        of_class = variance[place == each]
        if of_class.size:
            known.append(each)
            medians.append(float(np.median(of_class)))
    usual: Float32Array = np.interp(level, centres[known], medians).astype(np.float32)
    return usual
