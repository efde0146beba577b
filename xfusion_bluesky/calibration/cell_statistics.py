"""What each storage cell of a pixel shows over repeated bursts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = ["CellGathering", "CellStatistics"]


@dataclass(frozen=True, eq=False)
class CellStatistics:
    """Frame k of every burst comes from storage cell k: what cell k shows beyond the others.

    Parameters
    ----------
    deviation : tuple of (H, W) float32 or None
        Mean over bursts of each cell in counts, without its frame mean; None: never recorded.
    repeats : (n,) int
        Bursts that each cell was recorded in.
    noise : (H, W) float32
        Variance of one frame about the mean of its cell, counts^2; zeros with one burst.
    degrees : int
        Of freedom of `noise`; 0 with one burst.
    """

    deviation: tuple[Float32Array | None, ...]
    repeats: npt.NDArray[np.int64]
    noise: Float32Array
    degrees: int


class CellGathering:
    """Running means of each storage cell, and the squares that repeats leave about them."""

    def __init__(self) -> None:
        self._mean: dict[int, Float32Array] = {}
        self._repeats: dict[int, int] = {}
        self._squares: Float32Array | None = None

    def add(self, k: int, values: Float32Array) -> None:
        """Take over what cell `k` shows in one more burst.

        Parameters
        ----------
        k : int
            Number of the frame in its burst.
        values : (H, W) float32
            Without their mean; the array is used up.
        """
        self._repeats[k] = count = self._repeats.get(k, 0) + 1
        if count == 1:
            self._mean[k] = values
            return
        mean = self._mean[k]
        values -= mean
        mean += values / np.float32(count)
        # (x - old mean)(x - new mean) = (x - old mean)^2 (count - 1) / count
        np.square(values, out=values)
        values *= np.float32((count - 1) / count)
        if self._squares is None:
            self._squares = values
        else:
            self._squares += values

    def result(self, scale: float, shape: tuple[int, ...]) -> CellStatistics:
        """Return the statistics in counts; the means are used up.

        Parameters
        ----------
        scale : float
            Counts of a unit of the values.
        shape : tuple of int
            Rows and columns.
        """
        count = max(self._mean, default=-1) + 1
        repeats = np.array([self._repeats.get(k, 0) for k in range(count)], dtype=np.int64)
        degrees = int(np.maximum(repeats - 1, 0).sum())
        if self._mean:
            shared = np.zeros(shape)
            for mean in self._mean.values():
                shared += mean
            shared /= len(self._mean)
            for mean in self._mean.values():
                mean -= shared
                mean *= np.float32(scale)
        noise = np.zeros(shape, dtype=np.float32)
        if self._squares is not None and degrees:
            noise = self._squares * np.float32(scale**2 / degrees)
        return CellStatistics(
            tuple(self._mean.get(k) for k in range(count)), repeats, noise, degrees
        )
