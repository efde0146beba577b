"""What the storage cells of a camera differ by, corrected as far as the references can tell.

A camera with in-situ storage (HPV-X2) keeps frame k of every burst in storage cell k of each pixel,
and every cell has an offset and a gain of its own. One burst of dark and flat shows them under the
noise of one frame. Correcting with that would add as much noise as it removes pattern; so each
deviation is shrunk to its best linear estimate (empirical Bayes: Efron and Morris 1975; the Wiener
filter with both covariances taken from the data).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from xfusion_bluesky.calibration.cell_statistics import CellStatistics
from xfusion_bluesky.calibration.frame_statistics import FrameStatistics
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["StorageCells"]

_WINDOW_PX = 25
"""Weights may change over the frame, as the light does, but not from pixel to pixel."""

_SIGNIFICANT = 4.0
"""Pattern below so many standard errors of its estimate counts as none."""


@dataclass(frozen=True, eq=False)
class StorageCells:
    """Deviation of every storage cell from the dark and flat that all cells share.

    Parameters
    ----------
    dark, flat : CellStatistics
        What was recorded, in counts.
    weights : (2, 2, H, W) float32
        Estimated deviation in dark and flat, for each count of deviation recorded in dark and flat.
    shift : (n,) float64
        Counts by which the whole dark of a cell lies above the mean of the cells.
    pattern : (2, H, W) float32
        Variance of the pattern in dark and in flat frames, as far as it can be told, counts^2.
    removed : (2, H, W) float32
        Part of it that the correction takes away.
    pattern_counts : float
        Rms of the pattern in flats.
    """

    dark: CellStatistics
    flat: CellStatistics
    weights: Float32Array
    shift: Float64Array
    pattern: Float32Array
    removed: Float32Array
    pattern_counts: float

    @classmethod
    def of(
        cls, dark: FrameStatistics, flat: FrameStatistics, bad: BoolArray
    ) -> StorageCells | None:
        """Estimate how much of the recorded deviations is pattern.

        Noise differs from burst to burst, the pattern does not: with two or more bursts the spread
        of a cell about its mean is noise, the rest pattern. An offset is in darks and flats alike:
        what they share is pattern even with one burst. A gain that differs between cells cannot be
        told from photon noise with one burst of flats, and is left alone then.

        Parameters
        ----------
        dark, flat : FrameStatistics
            With statistics of cells.
        bad : (H, W) bool
            Pixels that do not count.

        Returns
        -------
        StorageCells or None
            None where there is nothing that is worth correcting.
        """
        if dark.cells is None or flat.cells is None:
            return None
        shift = _frame_shift(dark)
        number = min(len(dark.cells.deviation), len(flat.cells.deviation))
        moments, samples = _moments(dark.cells, flat.cells, number, ~bad)
        if not samples:
            return None
        shared = _pattern(moments, samples, dark.cells, flat.cells, ~bad)
        weights = _weights(shared, moments)
        if bad.all() or not (weights.any() or shift.any()):
            return None
        removed = np.einsum("ijhw,ijhw->ihw", weights, shared).astype(np.float32)
        pattern = np.stack([shared[0, 0], shared[1, 1]])
        rms = math.sqrt(float(pattern[1, ~bad].mean()))
        return cls(dark.cells, flat.cells, weights, shift, pattern, removed, rms)

    def of_frame(self, k: int) -> tuple[Float32Array, Float32Array] | None:
        """Return what to add to the shared dark and to the shared flat - dark for frame `k`.

        Parameters
        ----------
        k : int
            Number of the frame in its burst.

        Returns
        -------
        (dark, level) : (H, W) float32, counts; or None
            None for a cell that was not recorded in both.
        """
        if not 0 <= k < min(len(self.dark.deviation), len(self.flat.deviation)):
            return None
        in_dark, in_flat = self.dark.deviation[k], self.flat.deviation[k]
        if in_dark is None or in_flat is None:
            return None
        dark = self.weights[0, 0] * in_dark + self.weights[0, 1] * in_flat
        flat = self.weights[1, 0] * in_dark + self.weights[1, 1] * in_flat
        level: Float32Array = flat - dark
        return dark + np.float32(self.shift[k]), level

    def noise_of_dark(self, dark: FrameStatistics) -> tuple[Float32Array, float]:
        """Return the variance of a corrected dark frame, counts^2, and its degrees of freedom."""
        return self._noise(dark, self.dark, 0)

    def noise_of_flat(self, flat: FrameStatistics) -> tuple[Float32Array, float]:
        """Return the variance of a corrected flat frame, counts^2, and its degrees of freedom."""
        return self._noise(flat, self.flat, 1)

    def _noise(
        self, frames: FrameStatistics, cells: CellStatistics, which: int
    ) -> tuple[Float32Array, float]:
        if cells.degrees:
            left = self.pattern[which] - self.removed[which]
            return cells.noise + np.maximum(left, 0), float(cells.degrees)
        return frames.variance - self.removed[which], frames.degrees


def _moments(
    dark: CellStatistics, flat: CellStatistics, number: int, good: BoolArray
) -> tuple[Float32Array, int]:
    """Return the (2, 2, H, W) covariance of deviations, averaged around each pixel."""
    moments = np.zeros((2, 2, *good.shape), dtype=np.float32)
    cells = 0
    for d, f in zip(dark.deviation[:number], flat.deviation[:number], strict=True):
        if d is None or f is None:
            continue
        cells += 1
        moments[0, 0] += d * d
        moments[0, 1] += d * f
        moments[1, 1] += f * f
    if cells < 2:
        return moments, 0
    for i, j in ((0, 0), (0, 1), (1, 1)):
        moments[i, j] = _around(moments[i, j] / np.float32(cells - 1), good)
    moments[1, 0] = moments[0, 1]
    return moments, cells * min(_WINDOW_PX, good.shape[0]) * min(_WINDOW_PX, good.shape[1])


def _pattern(
    moments: Float32Array, samples: int, dark: CellStatistics, flat: CellStatistics, good: BoolArray
) -> Float32Array:
    """Return the part of the covariance that is pattern, (2, 2, H, W)."""
    (dd, df), (_, ff) = moments
    shared_error = np.sqrt((dd * ff + df * df) / samples)
    df = np.where(np.abs(df) > _SIGNIFICANT * shared_error, df, 0)
    # Of the offset alone: it is the same in both, so their covariance is its variance.
    offset = np.clip(df, 0, np.minimum(dd, ff))
    in_dark = _repeated(dd, dark, samples, good) if dark.degrees else offset
    df = np.clip(df, -np.sqrt(in_dark * ff), np.sqrt(in_dark * ff))
    if flat.degrees:
        in_flat = _repeated(ff, flat, samples, good)
        df = np.clip(df, -np.sqrt(in_dark * in_flat), np.sqrt(in_dark * in_flat))
    else:
        in_flat = np.divide(df * df, in_dark, out=np.zeros_like(df), where=in_dark > 0)
    pattern: Float32Array = np.stack([np.stack([in_dark, df]), np.stack([df, in_flat])])
    return pattern.astype(np.float32)


def _repeated(
    total: Float32Array, cells: CellStatistics, samples: int, good: BoolArray
) -> Float32Array:
    """Return the variance between cells that repeated bursts have in common."""
    repeats = cells.repeats[cells.repeats > 0]
    of_mean = _around(cells.noise, good) * np.float32((1 / repeats).mean())
    per_cell = samples / len(repeats)
    error = np.sqrt(2 / samples * total**2 + 2 / (per_cell * cells.degrees) * of_mean**2)
    excess = total - of_mean
    kept: Float32Array = np.where(excess > _SIGNIFICANT * error, excess, np.float32(0))
    return kept


def _weights(pattern: Float32Array, moments: Float32Array) -> Float32Array:
    """Return ``pattern @ inverse(moments)`` of every pixel."""
    (dd, df), (_, ff) = moments.astype(np.float64)
    ridge = 1e-6 * (dd + ff) + 1e-12
    dd, ff = dd + ridge, ff + ridge
    inverse = np.stack([np.stack([ff, -df]), np.stack([-df, dd])]) / (dd * ff - df * df)
    weights: Float32Array = np.einsum("ijhw,jkhw->ikhw", pattern, inverse).astype(np.float32)
    return weights


def _frame_shift(dark: FrameStatistics) -> Float64Array:
    """Return by how much whole darks differ from cell to cell, shrunk like the pattern.

    With one burst it cannot be told from a jitter of the black level, and is left alone.
    """
    length = max(map(len, dark.frame_means))
    shift = np.zeros(length)
    if len({len(each) for each in dark.frame_means}) > 1 or len(dark.frame_means) < 2:
        return shift
    means = np.stack(dark.frame_means)
    known = np.isfinite(means).all(axis=0)
    bursts, cells = len(means), int(known.sum())
    if cells < 2:
        return shift
    means = means[:, known]
    means = means - means.mean(axis=1, keepdims=True)
    of_cell = means.mean(axis=0)
    total = float(of_cell.var(ddof=1))
    noise = float(np.square(means - of_cell).sum() / ((bursts - 1) * (cells - 1))) / bursts
    error = math.sqrt(2 / cells * (total**2 + noise**2 / (bursts - 1)))
    if total - noise > _SIGNIFICANT * error:
        shift[known] = of_cell * (total - noise) / total
    return shift


def _around(image: Float32Array, good: BoolArray) -> Float32Array:
    """Return the mean of the good pixels around each pixel."""
    share = ndimage.uniform_filter(good.astype(np.float32), _WINDOW_PX, mode="nearest")
    sums = ndimage.uniform_filter(np.where(good, image, np.float32(0)), _WINDOW_PX, mode="nearest")
    mean: Float32Array = sums / np.maximum(share, np.float32(1e-6))
    return mean
