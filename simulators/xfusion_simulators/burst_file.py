"""The file that a file plugin makes of a burst, and the truth file beside it."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from .memory import Burst, FrameTable
from .publishing import publish
from .truth import write_truth

DATA_PATH = "/entry/data/data"
ATTRIBUTES_PATH = "/entry/instrument/NDAttributes"


class BurstFile:
    """A burst file while it is being filled.

    It has a temporary name until it is complete, closed and on disk; nobody can meet it half
    written. Parent folders must exist.

    Parameters
    ----------
    target : Path
        Its final name.
    capacity : int
        Frames it is to hold.

    Raises
    ------
    OSError
        When the folder is missing or cannot be written, or `target` exists already.
    """

    def __init__(self, target: Path, capacity: int) -> None:
        if target.exists():
            raise FileExistsError(f"{target} exists and is not overwritten; take another name")
        self.target = target
        self.capacity = capacity
        self.captured = 0
        self._partial = target.with_name(f".{target.name}.partial")
        self._tables: list[FrameTable] = []
        self._burst: Burst | None = None
        self._file = h5py.File(self._partial, "w")

    @property
    def full(self) -> bool:
        """Whether every frame has arrived."""
        return self.captured >= self.capacity

    def append(self, pixels: NDArray[np.uint16], table: FrameTable, burst: Burst) -> None:
        """Take frames in; those beyond the capacity are left out.

        Parameters
        ----------
        pixels : (n, H, W) uint16 array
        table : FrameTable
            Its n rows.
        burst : Burst
            Where they come from.

        Raises
        ------
        RuntimeError
            When the frames have another size than those before.
        """
        count = min(len(pixels), self.capacity - self.captured)
        if self._burst is None:
            self._burst = burst
            self._file.create_dataset(
                DATA_PATH, (self.capacity, *burst.shape), "u2", chunks=(1, *burst.shape)
            )
        dataset = self._file[DATA_PATH]
        if pixels.shape[1:] != dataset.shape[1:]:
            raise RuntimeError(f"frames of {pixels.shape[1:]} came after {dataset.shape[1:]}")
        for k in range(count):
            dataset.id.write_direct_chunk((self.captured + k, 0, 0), pixels[k])
        self._tables.append(table.part(0, count))
        self.captured += count

    def finish(self) -> None:
        """Write what is known of the frames, close, sync, and give the files their names."""
        if self._burst is None or not self.full:
            raise RuntimeError(f"{self.target} is not complete: {self.captured}/{self.capacity}")
        table = FrameTable.join(self._tables)
        attributes = self._file.create_group(ATTRIBUTES_PATH)
        attributes["FrameNumber"] = table.number
        attributes["FrameTimeNs"] = table.time_ns
        attributes["EventFlag"] = table.event_flag
        truth = self.target.with_name(f"{self.target.stem}.truth.h5")
        self._file.attrs["truth_file"] = truth.name
        self._file.close()
        write_truth(truth, table, self._burst)
        publish(self._partial, self.target)

    def discard(self) -> None:
        """Close and delete what was captured so far."""
        self._file.close()
        self._partial.unlink(missing_ok=True)
