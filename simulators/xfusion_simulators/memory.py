"""Burst memory of a simulated camera: one file that outlives the IOC, as camera RAM does."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from .truth import TrueGeometry

_GEOMETRY = TypeAdapter(TrueGeometry)


@dataclass(frozen=True)
class FrameTable:
    """What is known about each frame of a burst; arrays of one length n."""

    number: NDArray[np.int64]
    """The camera's own frame number."""
    time_ns: NDArray[np.float64]
    """Mid-exposure, ns after the camera's own trigger, by the camera's own clock."""
    event_flag: NDArray[np.uint8]
    """1 where the event pin was high."""
    true_time_ns: NDArray[np.float64]
    """True mid-exposure, ns after T0."""
    scene_index: NDArray[np.int64]
    """Frame of the scene that was seen."""
    beam_gain: NDArray[np.float64]
    """Mean intensity of the beam in this exposure; flicker makes it differ from 1."""

    def __len__(self) -> int:
        return len(self.number)

    def part(self, start: int, stop: int) -> "FrameTable":
        """Rows ``start`` to ``stop - 1``."""
        return FrameTable(*(getattr(self, f.name)[start:stop] for f in fields(self)))

    @classmethod
    def join(cls, parts: "list[FrameTable]") -> "FrameTable":
        """One table from several; `parts` must not be empty."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True)
class Burst:
    """A recorded burst, without its pixels."""

    table: FrameTable
    shape: tuple[int, int]
    """(rows, columns) of a frame."""
    truth_scene: Path | None
    """The scene whose frames are the truth of this burst; None when it shows none (dark, flat)
    or when the frames are as sharp as the scene themselves."""
    white_level: float
    """Counts of the scene that mean transmission 1."""
    geometry: TrueGeometry | None = None
    """Where both cameras looked; None: without optics."""


class CameraMemory:
    """The burst that a camera holds, in one HDF5 file.

    The file is written under another name and renamed, so that it is a whole burst or none.

    Parameters
    ----------
    path : Path
        The file. A burst found there is the camera's content, whoever recorded it.

    Raises
    ------
    ValueError
        When the file is there but damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.burst: Burst | None = self._read_burst() if path.exists() else None
        """What is held; None when the memory is empty."""

    def store(self, burst: Burst, frames: Iterable[NDArray[np.uint16]]) -> None:
        """Keep a burst in place of whatever was there.

        Parameters
        ----------
        burst : Burst
            Description of the burst.
        frames : iterable of (H, W) uint16 arrays
            Its pixels, in order, as many as the table has rows.
        """
        partial = self.path.with_suffix(".partial")
        with h5py.File(partial, "w") as file:
            pixels = file.create_dataset(
                "frames", (len(burst.table), *burst.shape), "u2", chunks=(1, *burst.shape)
            )
            for k, frame in enumerate(frames):
                pixels.id.write_direct_chunk((k, 0, 0), np.ascontiguousarray(frame, "<u2"))
            for field in fields(FrameTable):
                file[field.name] = getattr(burst.table, field.name)
            file.attrs["white_level"] = burst.white_level
            if burst.truth_scene is not None:
                file.attrs["truth_scene"] = str(burst.truth_scene)
            if burst.geometry is not None:
                file.attrs["geometry"] = _GEOMETRY.dump_json(burst.geometry).decode()
        os.replace(partial, self.path)
        self.burst = burst

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Pixels of rows ``start`` to ``stop - 1`` of the table, (n, H, W) uint16."""
        with h5py.File(self.path, "r") as file:
            frames: NDArray[np.uint16] = file["frames"][start:stop]
        return frames

    def clear(self) -> None:
        """Forget the burst."""
        self.burst = None
        self.path.unlink(missing_ok=True)

    def _read_burst(self) -> Burst:
        try:
            with h5py.File(self.path, "r") as file:
                scene = file.attrs.get("truth_scene")
                geometry = file.attrs.get("geometry")
                return Burst(
                    table=_table(file),
                    shape=file["frames"].shape[1:],
                    truth_scene=None if scene is None else Path(scene),
                    white_level=float(file.attrs["white_level"]),
                    geometry=None if geometry is None else _GEOMETRY.validate_json(geometry),
                )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"Camera memory {self.path} cannot be read: {error}. Its burst is lost; move the "
                "file away to start with an empty camera."
            ) from error


def _table(file: h5py.File) -> FrameTable:
    columns = {f.name: file[f.name][...] for f in fields(FrameTable) if f.name in file}
    # Memories of older versions do not tell of the beam; it did not flicker.
    columns.setdefault("beam_gain", np.ones(len(columns["number"])))
    return FrameTable(**columns)
