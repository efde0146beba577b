"""A burst as a DualSequence whose frames are read from the burst files when they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xfusion_bluesky.calibration.record import CalibrationRecord, RadiometricCalibration
from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.frame_times import hr_times_ns, lr_times_ns
from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.documents.references import ReferenceFrames, counts
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array
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
    references : ReferenceFrames, optional
        Makes transmission; None leaves counts.
    gain, offset : float
        Frames are (transmission - offset) / gain.
    """

    frames: Any
    bit_shift: int
    references: ReferenceFrames | None = None
    gain: float = 1.0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every frame."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, k: int) -> Float32Array:
        """Return frame `k`, float32; pixels that are dead or saturated are NaN."""
        frame = counts(self.frames[k], self.bit_shift)
        if self.references is None:
            return frame.astype(np.float32)
        seen = self.references.transmission(frame, k)
        if (self.gain, self.offset) == (1.0, 0.0):
            return seen
        matched: Float32Array = (seen - np.float32(self.offset)) / np.float32(self.gain)
        return matched

    def mask(self, k: int) -> BoolArray:
        """Return the pixels that are not dead; saturated ones are told by `frame`."""
        if self.references is None:
            return np.ones(self.shape, dtype=np.bool_)
        return np.isfinite(self.references.level)


@contextmanager
def burst_sequence(burst: Burst, corrections: Corrections | None = None) -> Iterator[DualSequence]:
    """Open a burst; its files are closed when the context ends.

    Parameters
    ----------
    burst : Burst
        What to reconstruct.
    corrections : Corrections, optional
        References and calibration. Without references frames are counts and the noise model is
        noise-free; without a calibration the map is the nominal one and the clocks agree. Where
        the brightness was calibrated, LR frames are in units of the HR camera's transmission.

    Yields
    ------
    DualSequence
        The Shimadzu as LR, the Phantom as HR, times in ns after T0 on the Phantom's clock.

    Raises
    ------
    CalibrationMismatch
        The calibration is of another readout region.
    OSError
        A burst file is missing or damaged.
    """
    used = corrections or Corrections()
    record = used.calibration
    with ExitStack() as stack:
        lr, hr = _open(stack, burst.shimadzu), _open(stack, burst.phantom)
        # Before the references are read: what does not fit shall be known at once.
        pixel_map = _pixel_map(record, lr.shape, hr.shape)
        noise = NoiseModel()
        if used.gives_transmission:
            references = _lr_references(burst, used)
            lr = replace(lr, references=references)
            hr = replace(hr, references=_hr_references(used))
            noise = references.noise()
            if used.radiometric is not None:
                lr, noise = _as_bright_as_hr(lr, noise, used.radiometric)
        yield DualSequence(
            lr,
            hr,
            lr_times_ns(burst, record),
            hr_times_ns(burst),
            lr_valid=burst.shimadzu.valid,
            hr_valid=burst.phantom.valid,
            noise=noise,
            pixel_map=pixel_map,
        )


def _lr_references(burst: Burst, used: Corrections) -> ReferenceFrames:
    dark = [each.shimadzu for each in used.dark]
    flat = [each.shimadzu for each in used.flat]
    brightness = used.radiometric
    # Frame k of every burst comes from storage cell k, as long as all have the same frames.
    cells = all(each.shape[0] == burst.shimadzu.shape[0] for each in (*dark, *flat))
    return ReferenceFrames.of(
        dark,
        flat,
        skip=_SKIPPED_SHIMADZU_REFERENCES,
        cells=cells,
        saturation_counts=None if brightness is None else brightness.lr.saturation_counts,
    )


def _hr_references(used: Corrections) -> ReferenceFrames:
    brightness = used.radiometric
    return ReferenceFrames.of(
        [each.phantom for each in used.dark],
        [each.phantom for each in used.flat],
        saturation_counts=None if brightness is None else brightness.hr.saturation_counts,
    )


def _as_bright_as_hr(
    lr: FileSource, noise: NoiseModel, brightness: RadiometricCalibration
) -> tuple[FileSource, NoiseModel]:
    gain, offset = brightness.gain, brightness.offset
    # var(y) = alpha y + beta with y = gain y' + offset, and var(y') = var(y) / gain^2.
    beta = max(0.0, noise.alpha * offset + noise.beta) / gain**2
    return replace(lr, gain=gain, offset=offset), NoiseModel(noise.alpha / gain, beta)


def _pixel_map(
    record: CalibrationRecord | None, lr_shape: tuple[int, int], hr_shape: tuple[int, int]
) -> PixelMap:
    if record is None:
        return PixelMap.nominal(lr_shape, hr_shape)
    record.check_frames(lr_shape, hr_shape)
    return record.spatial.pixel_map()


def _open(stack: ExitStack, burst: CameraBurst) -> FileSource:
    file = stack.enter_context(h5py.File(burst.file, "r", locking=False))
    return FileSource(file[burst.dataset], burst.bit_shift)


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


def truth_of(burst: Burst, pixel_map: PixelMap) -> TruthSource | None:
    """Return the truth of a simulated burst, or None when there is none.

    It compares with transmission: ask only when dark and flat are given.

    Parameters
    ----------
    burst : Burst
        Of which the Shimadzu's file names its truth.
    pixel_map : PixelMap
        Of its sequence.
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
    return TruthSource(truth, pixel_map)
