"""Dark and flat references of a camera, and transmission made with them."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np
import numpy.typing as npt

from xfusion_bluesky.documents.raw import CameraBurst
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.noise import NoiseModel

_LEAST_LEVEL = 0.01


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """Mean and variance over the frames of a burst.

    Parameters
    ----------
    mean, variance : (H, W) float32
        In counts and counts^2; the variance is zero when there is one frame only.
    """

    mean: Float32Array
    variance: Float32Array

    @classmethod
    def of(cls, burst: CameraBurst, skip: int = 0) -> FrameStatistics:
        """Read a burst of repeated frames.

        Parameters
        ----------
        burst : CameraBurst
            A dark or a flat.
        skip : int
            Leading frames left out when there are more than that.

        Raises
        ------
        ValueError
            If no frame is valid.
        """
        chosen = [k for k, valid in enumerate(burst.valid) if valid]
        chosen = chosen[skip:] or chosen
        if not chosen:
            raise ValueError(
                f"The reference {burst.file} has no valid frame: record it again, or reconstruct "
                "without it; the burst files are safe."
            )
        with h5py.File(burst.file, "r", locking=False) as file:
            frames = file[burst.dataset]
            total = np.zeros(frames.shape[1:], dtype=np.float64)
            squares = np.zeros_like(total)
            for k in chosen:
                frame = counts(frames[k], burst.bit_shift).astype(np.float64)
                total += frame
                squares += frame * frame
        mean = total / len(chosen)
        unbiased = len(chosen) / max(1, len(chosen) - 1)
        variance = np.maximum(squares / len(chosen) - mean * mean, 0) * unbiased
        return cls(mean.astype(np.float32), variance.astype(np.float32))


@dataclass(frozen=True, eq=False)
class ReferenceFrames:
    """Dark and flat of one camera.

    Parameters
    ----------
    dark, flat : FrameStatistics
        Of frames without beam, and with beam but without sample.
    """

    dark: FrameStatistics
    flat: FrameStatistics

    @classmethod
    def of(cls, dark: CameraBurst, flat: CameraBurst, skip: int = 0) -> ReferenceFrames:
        """Read both references; `skip` as for `FrameStatistics.of`."""
        return cls(FrameStatistics.of(dark, skip), FrameStatistics.of(flat, skip))

    @property
    def level(self) -> Float32Array:
        """Flat above dark in counts, (H, W); NaN in dead pixels (below 1 % of the median)."""
        level = self.flat.mean - self.dark.mean
        return np.where(level < _LEAST_LEVEL * np.median(level), np.float32(np.nan), level)

    def transmission(self, frame: npt.ArrayLike) -> Float32Array:
        """Return (counts - dark) / (flat - dark), float32; NaN in dead pixels.

        Parameters
        ----------
        frame : (H, W)
            Counts.
        """
        values: Float32Array = (np.asarray(frame, dtype=np.float32) - self.dark.mean) / self.level
        return values

    def noise(self) -> NoiseModel:
        """Noise of a transmission frame, from the variances of both references."""
        level = float(np.nanmean(self.level))
        return NoiseModel.from_frames(self.dark.variance, self.flat.variance, level)


def counts(frame: npt.NDArray[np.uint16], bit_shift: int) -> npt.NDArray[np.uint16]:
    """Return pixels moved down to where their values begin."""
    return frame >> np.uint16(bit_shift) if bit_shift else frame
