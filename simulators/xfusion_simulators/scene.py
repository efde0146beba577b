"""The scene in front of both cameras: a recorded sequence, replayed in light."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from .mesh import MeshPose
from .slits import SlitOpening

LR_PIXEL = 4
"""Scene pixels along one side of a Shimadzu pixel."""


@dataclass(frozen=True)
class Beam:
    """What stood in the beam when a shot was fired."""

    shutter_open: bool = True
    sample_in: bool = True
    mesh: MeshPose | None = None
    """Where the calibration mesh stands; None: out of the beam."""
    slits: SlitOpening | None = None
    """Opening of the slits; None: wide open."""

    @property
    def shows_scene(self) -> bool:
        """Whether frames of this shot show the scene, and nothing but the scene."""
        return self.shutter_open and self.sample_in and self.mesh is None


class ReplayScene:
    """A recorded sequence as transmission over time, under a smooth beam profile.

    Frames are read one by one when they are asked for, so that a scene larger than memory works.

    Parameters
    ----------
    path : Path
        HDF5 file with a dataset ``frames``, shape (n, H, W), any real type.
    frames : int, optional
        Use only the first so many frames.
    interval_ns, start_ns : float
        Frame ``i`` is centred at true time ``start_ns + i * interval_ns`` after T0.
    white_level : float, optional
        Counts that mean transmission 1. Default: the attribute ``white_level`` of the dataset,
        else the 99.9 percentile of its first, middle and last frame.

    Raises
    ------
    ValueError
        When the file holds no usable ``frames``.
    """

    def __init__(
        self,
        path: Path,
        *,
        frames: int | None = None,
        interval_ns: float = 1000.0,
        start_ns: float = 250.0,
        white_level: float | None = None,
    ) -> None:
        self.path = path.resolve()
        self._file = h5py.File(path, "r")
        dataset = self._file.get("frames")
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 3 or min(dataset.shape) < 1:
            self._file.close()
            raise ValueError(
                f"Scene {path} has no dataset 'frames' of shape (n, H, W). Nothing was started; "
                "give another file, or none for the shipped sequence."
            )
        self._frames = dataset
        self.n_frames: int = min(dataset.shape[0], frames or dataset.shape[0])
        self.shape: tuple[int, int] = (
            dataset.shape[1] // LR_PIXEL * LR_PIXEL,
            dataset.shape[2] // LR_PIXEL * LR_PIXEL,
        )
        self.dtype: np.dtype[np.generic] = dataset.dtype
        self._interval_ns = interval_ns
        self._start_ns = start_ns
        self.white_level = white_level or self._find_white_level()
        self.profile = beam_profile(self.shape)

    def _find_white_level(self) -> float:
        if "white_level" in self._frames.attrs:
            return float(self._frames.attrs["white_level"])
        chosen = [self.raw(i) for i in (0, self.n_frames // 2, self.n_frames - 1)]
        return float(np.percentile(np.stack(chosen), 99.9)) or 1.0

    def index(self, time_ns: NDArray[np.float64]) -> NDArray[np.int64]:
        """Say which frame of the scene is seen at true times after T0.

        Parameters
        ----------
        time_ns : array of float64
            True times, ns after T0. Before the first and after the last frame the scene stands.

        Returns
        -------
        array of int64, same shape
        """
        nearest = np.rint((np.asarray(time_ns) - self._start_ns) / self._interval_ns)
        clipped: NDArray[np.int64] = np.clip(nearest, 0, self.n_frames - 1).astype(np.int64)
        return clipped

    def raw(self, index: int) -> NDArray[np.generic]:
        """Read one frame as it was recorded, (H, W), native dtype, H and W multiples of 4."""
        height, width = self.shape
        frame: NDArray[np.generic] = self._frames[index, :height, :width]
        return frame

    def transmission(self, index: int) -> NDArray[np.float32]:
        """Read one frame as transmission, (H, W) float32 (1 = beam without sample)."""
        scale = np.float32(1.0 / self.white_level)
        frame: NDArray[np.float32] = self.raw(index).astype(np.float32) * scale
        return frame

    def light(self, index: int, beam: Beam) -> NDArray[np.float32]:
        """Light behind the sample, (H, W) float32, 1 = centre of the beam without sample."""
        if not beam.shutter_open:
            return np.zeros(self.shape, np.float32)
        if not beam.sample_in:
            return self.profile
        return self.profile * self.transmission(index)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def beam_profile(
    shape: tuple[int, int], margin_px: tuple[int, int] = (0, 0)
) -> NDArray[np.float32]:
    """Intensity of the bare beam: a broad Gaussian on a pedestal, a little off centre.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the scene.
    margin_px : tuple of int
        Rows and columns to add on every side.

    Returns
    -------
    (H + 2 rows, W + 2 columns) float32 array, within 0.75 .. 1
    """
    ends = [1 + 2 * m / max(n - 1, 1) for n, m in zip(shape, margin_px, strict=True)]
    counts = [n + 2 * m for n, m in zip(shape, margin_px, strict=True)]
    rows = np.linspace(-ends[0], ends[0], counts[0])[:, None] - 0.10
    columns = np.linspace(-ends[1], ends[1], counts[1])[None, :] + 0.05
    profile = 0.75 + 0.25 * np.exp(-(rows**2 + columns**2) / (2 * 0.7**2))
    return profile.astype(np.float32)
