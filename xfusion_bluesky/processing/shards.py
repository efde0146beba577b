"""Files of fused frames: complete when they get their name, gone when they cannot be written."""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xfusion_bluesky.documents.processed import DATASET, FrameRecord
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.processing.jobs import Message, ReconstructionJob, ShardWritten

__all__ = ["DRAFT_SUFFIX", "ShardWriter", "require_space"]

DRAFT_SUFFIX = ".part"
_MARGIN = 1.2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def require_space(folder: Path, frames: int, shape: tuple[int, int]) -> None:
    """Refuse to begin what the disk cannot hold.

    Parameters
    ----------
    folder : Path
        Where the frames go.
    frames : int
        How many.
    shape : (int, int)
        Height and width of each, float32.

    Raises
    ------
    OSError
        Less than 1.2 times their size is free.
    """
    needed_mb = _MARGIN * frames * shape[0] * shape[1] * 4 / 1e6
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < needed_mb:
        raise OSError(
            errno.ENOSPC,
            f"The fused frames need {needed_mb:.1f} MB, the disk of {folder} has {free_mb:.1f} MB "
            "free: make room and reconstruct again. The raw data are safe",
        )


class ShardWriter:
    """Collects fused frames and writes them in files.

    Parameters
    ----------
    job : ReconstructionJob
        Says where to, and how many frames at most; its folder exists.
    tell : callable
        Gets each `ShardWritten`.
    """

    def __init__(self, job: ReconstructionJob, tell: Callable[[Message], None]) -> None:
        self._job, self._tell = job, tell
        self._images: list[Float32Array] = []
        self._records: list[FrameRecord] = []
        self._shards = self._written = 0
        self._begin_s = time.monotonic()

    def add(self, image: Float32Array, record: FrameRecord) -> None:
        """Take the next frame; write a file when it is full or has waited long enough."""
        self._images.append(image)
        self._records.append(record)
        late = time.monotonic() - self._begin_s >= self._job.shard_seconds
        if late or len(self._images) >= self._job.shard_frames:
            self.flush()

    def flush(self) -> None:
        """Write the frames that wait.

        Raises
        ------
        OSError
            The disk is full, or fails otherwise; these frames are given up, no file is left.
        """
        images, self._images = self._images, []
        records, self._records = tuple(self._records), []
        if images:
            path = self._job.folder / f"shard_{self._shards:03d}.h5"
            _write(path, images)
            self._tell(ShardWritten(file=path, first=self._written, frames=records))
            self._written += len(records)
            self._shards += 1
        self._begin_s = time.monotonic()


class _Draft(io.FileIO):
    """A file that keeps its first error to itself: HDF5 crashes the process when a write fails."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while view and self.error is None:
                view = view[super().write(view) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def _write(path: Path, images: Sequence[Float32Array]) -> None:
    draft = path.with_name(path.name + DRAFT_SUFFIX)
    try:
        with _Draft(draft, "w+b") as stream:
            with h5py.File(stream, "w") as file:
                shape = (len(images), *images[0].shape)
                chunks = (1, *images[0].shape)
                data = file.create_dataset(DATASET, shape, dtype=np.float32, chunks=chunks)
                for k, image in enumerate(images):
                    data[k] = image
            if stream.error is not None:
                raise stream.error
            os.fsync(stream.fileno())
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if error.errno not in _FULL:
            raise
        raise OSError(
            error.errno,
            f"The disk of {path.parent} is full: frames from the shard {path.name} on are lost. "
            "Make room and reconstruct again. The raw data are safe",
        ) from error
