"""Mean, noise and flicker of a pixel over bursts of repeated frames, read one frame at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.cell_statistics import CellGathering, CellStatistics
from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.fusion.arrays import Float32Array, Float64Array

__all__ = ["BurstFrames", "FrameStatistics", "saturation_of"]

BurstFrames = Iterable[npt.NDArray[Any] | None]
"""Counts of the frames of one burst in order; None where a frame is missing or left out."""

_CEILINGS = frozenset(2**bits - 1 for bits in (8, 10, 12, 14, 16))
_MOST_CHANGE = 2.0
"""Frames whose light differs by more than this factor are not compared: a shutter moved."""


def saturation_of(frame: npt.NDArray[Any]) -> float:
    """Return the count from which on pixels of a frame are not believed.

    The brightest pixel tells: when it is at the end of a 8, 10, 12, 14 or 16 bit scale, the
    converter clipped it. Otherwise nothing is saturated, and the answer is infinite.

    Parameters
    ----------
    frame : (H, W)
        Counts.
    """
    highest = frame.max()
    return float(highest) if highest in _CEILINGS else math.inf


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """What a pixel shows over bursts of repeated frames: darks, or flats.

    Parameters
    ----------
    mean : (H, W) float32
        Counts.
    variance : (H, W) float32
        Of one frame, in counts^2, from the differences of frames that follow each other, so that
        slow changes do not enter; flicker of the beam is taken out. Zero where no two frames are
        there. A pattern that differs between storage cells is in it.
    degrees : float
        Of freedom of the variance of one pixel.
    saturated : (H, W) float32
        Share of the frames in which a pixel is at the end of the scale.
    frame_means : tuple of float64 arrays, one a burst
        Counts above the dark (above zero for darks); NaN for frames that were left out.
    cells : CellStatistics or None
        Where they were asked for.
    """

    mean: Float32Array
    variance: Float32Array
    degrees: float
    saturated: Float32Array
    frame_means: tuple[Float64Array, ...]
    cells: CellStatistics | None = None

    @classmethod
    def of(
        cls,
        bursts: Iterable[BurstFrames],
        what: str,
        dark: Float32Array | None = None,
        *,
        cells: bool = False,
        saturation: float | None = None,
    ) -> FrameStatistics:
        """Read bursts of repeated frames, once, one frame in memory.

        Parameters
        ----------
        bursts : iterable of iterables of (H, W) counts or None
            All frames of one shape.
        what : str
            Names them in errors, for instance ``LR flat``.
        dark : (H, W) float32, optional
            Mean dark. With it the frames are flats: each is divided by its mean above the dark
            before frames are compared, which takes flicker out.
        cells : bool
            Whether statistics of each storage cell are wanted.
        saturation : float, optional
            Counts from which on a pixel is saturated; by default each frame tells (see
            `saturation_of`).

        Raises
        ------
        CalibrationError
            There is no frame, or one is no image of the shape of the others.
        """
        gathered = _Gathering(what, dark, cells, saturation)
        for number, burst in enumerate(bursts, start=1):
            gathered.begin()
            for k, frame in enumerate(burst):
                if frame is None:
                    gathered.leave_out()
                else:
                    gathered.add(k, np.asarray(frame), f"burst {number}, frame {k}")
        return gathered.result()

    def without_deviations(self) -> FrameStatistics:
        """Return the same without the means of storage cells, which take most of the memory."""
        if self.cells is None:
            return self
        return replace(self, cells=replace(self.cells, deviation=()))


class _Gathering:
    """Sums over frames; the arrays are made when the first frame tells their shape."""

    def __init__(
        self, what: str, dark: Float32Array | None, cells: bool, saturation: float | None
    ) -> None:
        self._what, self._dark, self._saturation = what, dark, saturation
        self._shape: tuple[int, ...] | None = None if dark is None else dark.shape
        self._total: Float64Array | None = None
        self._frame_means: list[list[float]] = []
        self._usable_means: list[float] = []
        self._previous: tuple[Float32Array, float] | None = None
        self._differences: list[int] = []
        self._cells = CellGathering() if cells else None

    def begin(self) -> None:
        self._frame_means.append([])
        self._differences.append(0)
        self._previous = None

    def leave_out(self) -> None:
        self._frame_means[-1].append(math.nan)

    def add(self, k: int, frame: npt.NDArray[Any], where: str) -> None:
        self._check(frame, where)
        if self._total is None:
            self._total = np.zeros(frame.shape)
            self._squares = np.zeros(frame.shape, dtype=np.float32)
            self._spare = np.empty(frame.shape, dtype=np.float32)
            self._saturated = np.zeros(frame.shape, dtype=np.float32)
        self._total += frame
        limit = saturation_of(frame) if self._saturation is None else self._saturation
        if math.isfinite(limit):
            self._saturated += frame >= limit
        values = self._spare
        if self._dark is None:
            np.copyto(values, frame, casting="unsafe")
        else:
            np.subtract(frame, self._dark, out=values, casting="unsafe")
        mean = float(values.mean())
        self._frame_means[-1].append(mean)
        if self._dark is not None:
            if not mean > 0:
                self._previous = None
                return
            values *= np.float32(1 / mean)
        self._usable_means.append(mean)
        if self._cells is not None:
            self._cells.add(k, values - np.float32(mean if self._dark is None else 1.0))
        self._compare(values, mean)

    def _compare(self, values: Float32Array, mean: float) -> None:
        """Add the squared difference to the frame before, whose array is free afterwards."""
        if self._previous is None:
            self._previous, self._spare = (values, mean), np.empty_like(values)
            return
        before, mean_before = self._previous
        ratio = mean / mean_before if self._dark is not None else 1.0
        if 1 / _MOST_CHANGE < ratio < _MOST_CHANGE:
            np.subtract(values, before, out=before)
            np.square(before, out=before)
            self._squares += before
            self._differences[-1] += 1
        self._previous, self._spare = (values, mean), before

    def _check(self, frame: npt.NDArray[Any], where: str) -> None:
        shape = self._shape
        if frame.ndim != 2 or not frame.size or not np.issubdtype(frame.dtype, np.number):
            raise CalibrationError(
                f"{self._what}, {where}: an array of shape {frame.shape} and type {frame.dtype} "
                "is no image of counts; give frames of rows and columns. Nothing was changed."
            )
        if shape is not None and frame.shape != shape:
            raise CalibrationError(
                f"{self._what}, {where}: the frame has {frame.shape[0]} x {frame.shape[1]} pixels, "
                f"those before it {shape[0]} x {shape[1]}. Record dark and flat again with one "
                "readout region; the data are safe."
            )
        if np.issubdtype(frame.dtype, np.inexact) and not np.isfinite(frame).all():
            raise CalibrationError(
                f"{self._what}, {where}: the frame has pixels that are not finite. Give counts as "
                "the camera made them; the data are safe."
            )
        self._shape = frame.shape

    def result(self) -> FrameStatistics:
        if self._total is None:
            raise CalibrationError(
                f"The {self._what} has no valid frame: record it again, or go on without it; "
                "the data are safe."
            )
        frames = sum(int(np.isfinite(each).sum()) for each in self._frame_means)
        level = float(np.mean(self._usable_means)) if self._usable_means else 0.0
        scale = level if self._dark is not None else 1.0
        pairs = sum(self._differences)
        # Differences that follow each other share a frame: they tell 2/3 of what as many would.
        degrees = sum(2 * m * m / (3 * m - 1) for m in self._differences if m)
        variance = self._squares * np.float32(scale**2 / (2 * pairs) if pairs else 0)
        return FrameStatistics(
            mean=(self._total / frames).astype(np.float32),
            variance=variance,
            degrees=degrees,
            saturated=self._saturated / np.float32(frames),
            frame_means=tuple(np.array(each) for each in self._frame_means),
            cells=None if self._cells is None else self._cells.result(scale, variance.shape),
        )
