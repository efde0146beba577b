"""Dark and flat of one camera, and transmission made with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.bad_pixels import BadPixels
from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.frame_statistics import (
    BurstFrames,
    FrameStatistics,
    saturation_of,
)
from xfusion_bluesky.calibration.photon_transfer import (
    LightLevel,
    PhotonTransfer,
    photon_transfer,
)
from xfusion_bluesky.calibration.storage_cells import StorageCells
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel

__all__ = ["CameraReferences"]

_LEAST_LIGHT_COUNTS = 1.0


@dataclass(frozen=True, eq=False)
class CameraReferences:
    """Dark and flat of one camera.

    Parameters
    ----------
    dark, flat : FrameStatistics
        Of frames without beam, and with beam but without sample.
    bad : BadPixels
        Pixels without a value.
    cells : StorageCells or None
        What to correct for each storage cell.
    saturation_counts : float or None
        Counts from which on a pixel is not believed; None: each frame tells.
    """

    dark: FrameStatistics
    flat: FrameStatistics
    bad: BadPixels
    cells: StorageCells | None = None
    saturation_counts: float | None = None

    @classmethod
    def from_frames(
        cls,
        dark: Iterable[BurstFrames],
        flat: Iterable[BurstFrames],
        *,
        cells: bool = False,
        saturation_counts: float | None = None,
        what: str = "camera",
    ) -> Self:
        """Read references frame by frame.

        Parameters
        ----------
        dark, flat : iterable of bursts
            Each an iterable of (H, W) counts, None where a frame is missing or left out.
        cells : bool
            Whether frame k of every burst comes from storage cell k, of which each has a pattern
            of its own.
        saturation_counts : float, optional
            Counts from which on a pixel is not believed.
        what : str
            Names the camera in errors, for instance ``LR``.

        Raises
        ------
        CalibrationError
            A reference has no frame, the frames do not fit together, or the flat has no light.
        """
        limit = saturation_counts
        of_dark = FrameStatistics.of(dark, f"{what} dark", cells=cells, saturation=limit)
        of_flat = FrameStatistics.of(
            flat, f"{what} flat", of_dark.mean, cells=cells, saturation=limit
        )
        light = float(np.median(of_flat.mean - of_dark.mean))
        if not light >= _LEAST_LIGHT_COUNTS:
            raise CalibrationError(
                f"The {what} flat is no brighter than the dark (by {light:.2g} counts, in the "
                "median): was the shutter closed, does the beam cover less than half of the frame, "
                "or was one taken for the other? Record both again; the data are safe."
            )
        bad = BadPixels.of(of_dark, of_flat)
        found = StorageCells.of(of_dark, of_flat, bad.mask)
        if found is None:  # the mean of every cell is large, and of no use
            of_dark, of_flat = of_dark.without_deviations(), of_flat.without_deviations()
        return cls(of_dark, of_flat, bad, found, limit)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        rows, columns = self.dark.mean.shape
        return rows, columns

    @cached_property
    def level(self) -> Float32Array:
        """Flat above dark in counts, (H, W); NaN in bad pixels."""
        level = self.flat.mean - self.dark.mean
        level[self.bad.mask] = np.nan
        return level

    @cached_property
    def median_level(self) -> float:
        """Median of `level` over usable pixels, counts; NaN when there is none."""
        usable = self.level[~self.bad.mask]
        return float(np.median(usable)) if usable.size else math.nan

    @cached_property
    def _per_count(self) -> Float32Array:
        return np.reciprocal(self.level)

    def usable(self, frame: npt.ArrayLike, k: int | None = None) -> BoolArray:
        """Return the pixels of a frame that have a value: neither bad nor saturated.

        Parameters
        ----------
        frame : (H, W)
            Counts.
        k : int, optional
            As for `transmission`; all storage cells of a pixel are usable or none is.
        """
        good: BoolArray = ~self.bad.mask
        return good & (np.asarray(frame) < self._saturation(np.asarray(frame)))

    def transmission(self, frame: npt.ArrayLike, k: int | None = None) -> Float32Array:
        """Return (counts - dark) / (flat - dark), (H, W) float32; NaN in pixels without a value.

        Parameters
        ----------
        frame : (H, W)
            Counts.
        k : int, optional
            Number of the frame in its burst: with it the pattern of its storage cell is taken out,
            where that is known.
        """
        counts = np.asarray(frame)
        cell = None if k is None or self.cells is None else self.cells.of_frame(k)
        values: Float32Array
        if cell is None:
            values = np.subtract(counts, self.dark.mean, dtype=np.float32)
            values *= self._per_count
        else:
            dark, level = cell
            dark += self.dark.mean
            values = np.subtract(counts, dark, dtype=np.float32)
            level += self.level
            values /= level
        limit = self._saturation(counts)
        if math.isfinite(limit):
            values[counts >= limit] = np.nan
        return values

    def photon_transfer(
        self, *, corrected: bool = True, more: Sequence[LightLevel] = (), what: str = "camera"
    ) -> PhotonTransfer:
        """Fit the photon transfer curve through dark and flat.

        Parameters
        ----------
        corrected : bool
            Of frames as `transmission` gives them, with what is left of a pattern of storage
            cells; otherwise of the camera, as far as repeated bursts tell that pattern from noise.
        more : sequence of LightLevel
            Flats with other exposures.
        what : str
            Names the camera in errors.

        Raises
        ------
        CalibrationError
            As for `photon_transfer`.
        """
        level, dark, flat = self.flat.mean - self.dark.mean, self.dark, self.flat
        if not corrected:
            noise = self._of_camera(dark, 0), self._of_camera(flat, 1)
        elif self.cells is None:
            noise = (dark.variance, dark.degrees), (flat.variance, flat.degrees)
        else:
            noise = self.cells.noise_of_dark(dark), self.cells.noise_of_flat(flat)
        levels = [LightLevel(np.zeros_like(level), *noise[0]), LightLevel(level, *noise[1]), *more]
        mixed = flat.cells is not None and not flat.cells.degrees
        return photon_transfer(
            levels, ~self.bad.mask, cell_pattern=mixed and not corrected, what=what
        )

    def _of_camera(self, frames: FrameStatistics, which: int) -> tuple[Float32Array, float]:
        """Return the variance that differs from burst to burst, as far as it can be told."""
        if frames.cells is not None and frames.cells.degrees:
            return frames.cells.noise, float(frames.cells.degrees)
        if self.cells is not None:
            return frames.variance - self.cells.pattern[which], frames.degrees
        return frames.variance, frames.degrees

    def noise(self) -> NoiseModel:
        """Return the noise of a transmission frame, by the photon transfer curve.

        References of a single frame say nothing about noise: the model is noise-free then.
        """
        if not (self.dark.degrees and self.flat.degrees and self.median_level > 0):
            return NoiseModel()
        curve, level = self.photon_transfer(), self.median_level
        return NoiseModel(
            alpha=curve.counts_per_photon / level,
            beta=(curve.read_noise_counts / level) ** 2,
        )

    def _saturation(self, counts: npt.NDArray[np.generic]) -> float:
        if self.saturation_counts is not None:
            return self.saturation_counts
        return saturation_of(counts)
