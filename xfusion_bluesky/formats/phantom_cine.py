"""Phantom .cine files: grey frames of 8 or 16 bits, or packed 10 or 12, with time and event input.

Little-endian: a file header, a bitmap header, the camera's setup, tagged blocks (times), and a
table of where each image begins. The layout follows the maker's public description; no file of a
camera was at hand.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.open_file import BinaryPart, open_binary
from xfusion_bluesky.formats.packed_pixels import unpack_10, unpack_12
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = ["PACKED_10", "PACKED_12", "UNPACKED", "CineFile", "read_cine"]

UNPACKED, PACKED_10, PACKED_12 = 0, 256, 1024
"""``biCompression`` of images that can be read."""

HEADER = "<2sHHHiIiIIIIII"
BITMAP = "<IiiHHIIiiII"
TIME_BLOCK = 1002
SETUP_FIELDS = {
    "length": (142, "<H"),
    "serial": (743, "<I"),
    "rate_hz": (768, "<I"),
    "cfa": (808, "<I"),
    "bits": (896, "<I"),
    "exposure_ns": (1568, "<I"),
    "gamma": (6024, "<f"),
    "exact_rate_hz": (10400, "<d"),
}
"""Where in the setup what stands; older files end before the last ones."""

_MOST_FRAMES = 10_000_000
_MOST_PIXELS = 1 << 26
_MOST_BLOCKS = 64
_EVENT_INPUT_OPEN = 2
_FLAG_BITS = 3
_LONGEST_S = 1 << 25
_COLOUR_IN_LOW_BITS = 0xFFFFFF


@dataclass(frozen=True, eq=False)
class CineFile:
    """A cine whose frames are read when they are wanted.

    Parameters
    ----------
    path : Path
        The file.
    shape : (int, int)
        Height and width of every frame, px.
    bits : int
        Of a pixel, as recorded; 0 where the file does not say.
    compression : int
        How pixels are stored: `UNPACKED`, `PACKED_10` or `PACKED_12`.
    first_frame_number : int
        The camera's number of the first frame; 0 is the trigger frame.
    frame_rate_hz : float
        As set.
    exposure_ns : int
        As set; 0 where the file does not say.
    serial : int
        Of the camera.
    time_ns : (n,) float64
        After the trigger; NaN where the file has no times.
    event_flag : (n,) bool
        Frames in which the event input was closed (shorted to ground), ``E`` in the .xml file.
    offsets : (n,) uint64
        Where images begin.
    """

    path: Path
    shape: tuple[int, int]
    bits: int
    compression: int
    first_frame_number: int
    frame_rate_hz: float
    exposure_ns: int
    serial: int
    time_ns: Float64Array
    event_flag: BoolArray
    offsets: npt.NDArray[np.uint64] = field(repr=False)
    bits_stored: int = 16

    def __len__(self) -> int:
        return len(self.offsets)

    def frame(self, k: int, table: npt.NDArray[np.uint16] | None = None) -> npt.NDArray[np.uint16]:
        """Return frame `k`, counted from 0, (H, W) uint16, first row on top.

        Parameters
        ----------
        k : int
            Position in the file.
        table : (1024,) uint16, optional
            What the codes of packed 10-bit images mean. They are not proportional to brightness;
            the maker's table is not part of this software.

        Raises
        ------
        FormatError
            The image is damaged or cut short, or needs a table.
        IndexError
            There is no such frame.
        """
        if not 0 <= k < len(self):
            raise IndexError(k)
        with open_binary(self.path) as part:
            start = int(self.offsets[k])
            (annotation,) = part.values(start, "<I", f"the annotation of frame {k}")
            size = self._image_bytes
            data = part.read(start + annotation, size, f"the pixels of frame {k}")
            if self.compression == PACKED_10:
                if table is None or table.shape != (1024,):
                    raise part.wrong(
                        "its images are packed to 10 bits by a table that this software does not "
                        "have. Save the cine with 12 or 16 bits instead"
                    )
                return table[unpack_10(data, self.shape)]
        if self.compression == PACKED_12:
            return unpack_12(data, self.shape)
        rows = np.frombuffer(data, dtype="<u2" if self.bits_stored == 16 else "u1")
        rows = rows.reshape(self.shape[0], -1)[::-1, : self.shape[1]]
        return np.ascontiguousarray(rows).astype(np.uint16, copy=False)

    @property
    def _image_bytes(self) -> int:
        height, width = self.shape
        if self.compression == PACKED_10:
            return -(-height * width * 10 // 8)
        if self.compression == PACKED_12:
            return -(-height * width * 12 // 8)
        # Rows of bitmaps are filled up to multiples of four bytes.
        return height * -(-width * self.bits_stored // 32) * 4


def read_cine(path: Path) -> CineFile:
    """Read the headers and times of a .cine file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FormatError
        It is no such file, damaged, cut short, in colour, or not linear.
    """
    with open_binary(path) as part:
        head = part.values(0, HEADER, "the file header")
        kind, _, _, version, _, _, first, count, bitmap_at, setup_at, table_at = head[:11]
        if kind != b"CI" or version not in (0, 1):
            raise part.wrong("it does not begin as a .cine file does")
        if not 1 <= count <= _MOST_FRAMES:
            raise part.wrong(f"it says that it holds {count} frames")
        shape, stored, compression = _bitmap(part, bitmap_at)
        setup = {
            name: _setup(part, setup_at, table_at, offset, layout)
            for name, (offset, layout) in SETUP_FIELDS.items()
        }
        if int(setup["cfa"]) & _COLOUR_IN_LOW_BITS:
            raise part.wrong("it was recorded by a colour camera")
        if setup["gamma"] not in (0.0, 1.0):
            raise part.wrong(
                f"gamma is {setup['gamma']:g}: brightness is not proportional to dose; set it to 1"
            )
        width = "<u4" if version == 0 else "<u8"
        table = part.read(table_at, count * int(width[2]), "the table of images")
        times, flags = _times(part, setup_at + int(setup["length"]), table_at, head[11:], count)
        rate_hz = setup["exact_rate_hz"] if setup["exact_rate_hz"] > 0 else setup["rate_hz"]
        return CineFile(
            path,
            shape,
            int(setup["bits"]),
            compression,
            first,
            float(rate_hz),
            int(setup["exposure_ns"]),
            int(setup["serial"]),
            times,
            flags,
            np.frombuffer(table, dtype=width).astype(np.uint64),
            stored,
        )


def _bitmap(part: BinaryPart, at: int) -> tuple[tuple[int, int], int, int]:
    _, width, height, _, stored, compression, *_ = part.values(at, BITMAP, "the bitmap header")
    if width < 1 or height == 0 or width * abs(height) > _MOST_PIXELS:
        raise part.wrong(f"its images would have {width} x {height} px")
    if stored not in (8, 16) or compression not in (UNPACKED, PACKED_10, PACKED_12):
        raise part.wrong(
            f"its images have {stored} bits and compression {compression}; known are grey images "
            "of 8 or 16 bits, and packed to 10 or 12"
        )
    return (abs(height), width), stored, compression


def _setup(part: BinaryPart, setup_at: int, end: int, offset: int, layout: str) -> float:
    # The setup grew over the years, and says itself how long it is.
    (length,) = part.values(setup_at + SETUP_FIELDS["length"][0], "<H", "the camera's setup")
    if offset + struct.calcsize(layout) > min(length, end - setup_at):
        return 0.0
    (value,) = part.values(setup_at + offset, layout, "the camera's setup")
    return float(value) if math.isfinite(value) else 0.0


def _blocks(part: BinaryPart, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, place and size of the content of each tagged block."""
    for _ in range(_MOST_BLOCKS):
        if at + 8 > end:
            return
        size, kind, _ = part.values(at, "<IHH", "a tagged block")
        if size < 8 or at + size > end:
            raise part.wrong(f"the tagged block at byte {at} has an impossible size of {size}")
        yield kind, at + 8, size - 8
        at += size


def _times(
    part: BinaryPart, at: int, end: int, trigger: tuple[int, int], count: int
) -> tuple[Float64Array, BoolArray]:
    for kind, place, size in _blocks(part, at, end):
        if kind != TIME_BLOCK:
            continue
        if size < 8 * count:
            raise part.wrong(f"it holds times of {size // 8} images, but {count} images")
        pairs = np.frombuffer(part.read(place, 8 * count, "times"), dtype="<u4").reshape(-1, 2)
        fractions, seconds = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
        if np.abs(seconds - trigger[1]).max() > _LONGEST_S:
            raise part.wrong("its images were taken years before or after its trigger")
        closed = (fractions & _EVENT_INPUT_OPEN) == 0
        # The two lowest bits are flags; a unit is 2**-32 s. Whole numbers first: exact.
        ticks = ((seconds - trigger[1]) << 32) + (fractions & ~_FLAG_BITS)
        ticks -= trigger[0] & ~_FLAG_BITS
        return ticks * (1e9 / 2**32), closed
    return np.full(count, np.nan), np.zeros(count, dtype=np.bool_)
