"""Writes the HDF5 file of a burst as the cameras' file plugins do: complete, or not there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.areadetector_hdf5 import ATTRIBUTES, DATASET

__all__ = ["write_burst_file"]


def write_burst_file(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint16]],
    shape: tuple[int, int, int],
    *,
    frame_number: Sequence[int],
    frame_time_ns: Sequence[float],
    event_flag: Sequence[bool],
) -> None:
    """Write a burst file; it gets its name when it is closed and on disk.

    Parameters
    ----------
    path : Path
        One that exists is replaced.
    frames : iterable of (H, W) uint16
        As many as `shape` says.
    shape : (int, int, int)
        Frames, rows, columns.
    frame_number, frame_time_ns, event_flag : sequence
        One a frame: the camera's own number, ns after its own trigger, whether it saw its event
        input.

    Raises
    ------
    OSError
        The disk refuses; no file is left.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        with h5py.File(draft, "w") as file:
            data = file.create_dataset(DATASET, shape, "u2", chunks=(1, *shape[1:]))
            for k, frame in enumerate(frames):
                data[k] = frame
            attributes = file.create_group(ATTRIBUTES)
            attributes["FrameNumber"] = np.asarray(frame_number, dtype=np.int64)
            attributes["FrameTimeNs"] = np.asarray(frame_time_ns, dtype=np.float64)
            attributes["EventFlag"] = np.asarray(event_flag, dtype=np.uint8)
        _to_disk(draft)
        draft.replace(path)
        _to_disk(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
