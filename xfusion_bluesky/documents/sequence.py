"""A burst as a DualSequence whose frames are read from the burst files when they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.documents.references import ReferenceFrames, counts
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.pixelmap import PixelMap
from xfusion_bluesky.fusion.sequence import DualSequence

_SKIPPED_SHIMADZU_REFERENCES = 1  # its first frame differs from the others


@dataclass(frozen=True, eq=False)
class FileSource:
    """Frames of one camera in an open HDF5 dataset (a FrameSource).

    Parameters
    ----------
    frames : h5py.Dataset
        (n, H, W) uint16.
    bit_shift : int
        Bits by which the pixels stand too high.
    references : ReferenceFrames or None
        Makes transmission; None leaves counts.
    """

    frames: Any
    bit_shift: int
    references: ReferenceFrames | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every frame."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, k: int) -> Float32Array:
        """Return frame `k`, float32; dead pixels are NaN."""
        frame = counts(self.frames[k], self.bit_shift)
        if self.references is None:
            return frame.astype(np.float32)
        return self.references.transmission(frame)

    def mask(self, k: int) -> BoolArray:
        """Return the pixels that are not dead; the same for every frame."""
        if self.references is None:
            return np.ones(self.shape, dtype=np.bool_)
        return np.isfinite(self.references.level)


@contextmanager
def burst_sequence(burst: Burst, dark: Burst | None, flat: Burst | None) -> Iterator[DualSequence]:
    """Open a burst; its files are closed when the context ends.

    Parameters
    ----------
    burst : Burst
        What to reconstruct.
    dark, flat : Burst or None
        References; unless both are given, frames are counts and the noise model is noise-free.

    Yields
    ------
    DualSequence
        The Shimadzu as LR, the Phantom as HR, times in ns after T0.

    Raises
    ------
    OSError
        A burst file is missing or damaged.
    """
    lr_references = hr_references = None
    if dark is not None and flat is not None:
        lr_references = ReferenceFrames.of(
            dark.shimadzu, flat.shimadzu, _SKIPPED_SHIMADZU_REFERENCES
        )
        hr_references = ReferenceFrames.of(dark.phantom, flat.phantom)
    with ExitStack() as stack:
        lr = _open(stack, burst.shimadzu, lr_references)
        hr = _open(stack, burst.phantom, hr_references)
        yield DualSequence(
            lr,
            hr,
            _times(burst.shimadzu),
            _times(burst.phantom),
            lr_valid=burst.shimadzu.valid,
            hr_valid=burst.phantom.valid,
            noise=NoiseModel() if lr_references is None else lr_references.noise(),
            pixel_map=PixelMap.nominal(lr.shape, hr.shape),
        )


def _open(stack: ExitStack, burst: CameraBurst, references: ReferenceFrames | None) -> FileSource:
    file = stack.enter_context(h5py.File(burst.file, "r", locking=False))
    return FileSource(file[burst.dataset], burst.bit_shift, references)


def _times(burst: CameraBurst) -> Float64Array:
    times = np.array(burst.time_ns, dtype=np.float64)
    known = np.flatnonzero(burst.valid)
    if known.size == len(times):
        return times
    # A padded frame has no time of its own; a sequence wants increasing ones.
    index = np.arange(len(times), dtype=np.float64)
    if known.size < 2:
        anchor = float(times[known[0]] - known[0]) if known.size else 0.0
        return index + anchor
    step = float(np.median(np.diff(times[known]) / np.diff(known)))
    filled = np.interp(index, known, times[known])
    filled += np.minimum(index - known[0], 0) * step + np.maximum(index - known[-1], 0) * step
    return filled


@dataclass(frozen=True, eq=False)
class TruthSource:
    """The truth of a simulated burst on the fused grid, in transmission.

    Parameters
    ----------
    file : Path
        Truth file.
    pixel_map : PixelMap
        Whose field the truth is cropped to.
    """

    file: Path
    pixel_map: PixelMap

    def __len__(self) -> int:
        with h5py.File(self.file, "r", locking=False) as file:
            return len(file["/truth/frames"])

    def frame(self, i: int) -> Float32Array:
        """Return the truth of LR frame `i`, (H, W) float32."""
        with h5py.File(self.file, "r", locking=False) as file:
            frames = file["/truth/frames"]
            (row, column), (height, width) = self.pixel_map.lr_origin, self.pixel_map.shape
            row, column = SCALE * row, SCALE * column
            field = frames[i, row : row + height, column : column + width]
            truth: Float32Array = field.astype(np.float32) / np.float32(frames.attrs["scale"])
            return truth

    def __getitem__(self, i: int) -> Float32Array:
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self.frame(i)


def truth_of(burst: Burst) -> TruthSource | None:
    """Return the truth of a simulated burst, or None when there is none.

    It compares with transmission: ask only when dark and flat are given.

    Parameters
    ----------
    burst : Burst
        Of which the Shimadzu's file names its truth.
    """
    path = burst.shimadzu.file
    with h5py.File(path, "r", locking=False) as file:
        name = file.attrs.get("truth_file", "")
    name = name.decode() if isinstance(name, bytes) else str(name)
    # A name with a separator could point anywhere on this computer.
    if not name or name in (".", "..") or Path(name).name != name:
        return None
    truth = path.parent / name
    try:
        with h5py.File(truth, "r", locking=False) as file:
            if "/truth/frames" not in file or len(file["/truth/frames"]) != burst.shimadzu.shape[0]:
                return None
    except OSError:
        return None
    pixel_map = PixelMap.nominal(burst.shimadzu.shape[1:], burst.phantom.shape[1:])
    return TruthSource(truth, pixel_map)
