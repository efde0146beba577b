"""The HDF5 file of one burst: what the control system needs to know of it, never its pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from .faults import DeviceFault

DATASET = "/entry/data/data"
_ATTRIBUTES = "/entry/instrument/NDAttributes"
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class BurstFile:
    """A closed, counted and checksummed burst file.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        (frames, rows, columns).
    dtype : str
        NumPy type string of a pixel, for example ``<u2``.
    frame_number : (n,) int64
        The camera's own frame numbers.
    frame_time_ns : (n,) float64
        Mid-exposure in ns after the camera's own trigger, by the camera's clock.
    event_flag : (n,) uint8
        1 where the camera saw its event input during the frame.
    sha256 : str
        Checksum of the file.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: str
    frame_number: NDArray[np.int64]
    frame_time_ns: NDArray[np.float64]
    event_flag: NDArray[np.uint8]
    sha256: str

    @classmethod
    def verify(cls, path: Path, expected: tuple[int, int, int]) -> BurstFile:
        """Open a file that the IOC says is complete, and prove that it is.

        Parameters
        ----------
        path : Path
            File as seen from this computer.
        expected : tuple of int
            (frames, rows, columns) that the descriptor promises.

        Raises
        ------
        DeviceFault
            When the file is missing, damaged, or holds something else than promised.
        """
        try:
            with h5py.File(path, "r", locking=False) as file:
                frames = file[DATASET]
                shape, dtype = tuple(frames.shape), frames.dtype.str
                attributes = file[_ATTRIBUTES]
                number = np.asarray(attributes["FrameNumber"][:], dtype=np.int64)
                time_ns = np.asarray(attributes["FrameTimeNs"][:], dtype=np.float64)
                flag = np.asarray(attributes["EventFlag"][:], dtype=np.uint8)
            digest = _sha256(path)
        except (OSError, KeyError) as error:
            raise _fault(path, f"{type(error).__name__}: {error}") from error
        if shape != expected:
            raise _fault(path, f"it holds {shape}, the run promises {expected}")
        if not len(number) == len(time_ns) == len(flag) == shape[0]:
            raise _fault(path, "its frame numbers, times and flags are not one a frame")
        return cls(path, expected, dtype, number, time_ns, flag, digest)


def _fault(path: Path, why: str) -> DeviceFault:
    return DeviceFault(
        "The burst file is not what was recorded",
        where=str(path),
        why=why,
        action="check the folder and its disk on the IOC's computer, then transfer again",
        data="the burst is still in camera memory until the next arm",
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()
