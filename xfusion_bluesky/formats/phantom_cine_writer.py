"""Writes .cine files, for tests and for programs that read nothing else."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.packed_pixels import pack_10, pack_12
from xfusion_bluesky.formats.phantom_cine import (
    BITMAP,
    HEADER,
    PACKED_10,
    PACKED_12,
    SETUP_FIELDS,
    TIME_BLOCK,
    UNPACKED,
)

__all__ = ["write_cine"]

_HEADER_BYTES = struct.calcsize(HEADER)
_BITMAP_BYTES = struct.calcsize(BITMAP)
_SETUP_BYTES = 11_000
_EXPOSURE_BLOCK = 1003
_NOT_SYNCHRONISED, _INPUT_OPEN = 1, 2


def write_cine(
    path: Path,
    frames: Sequence[npt.NDArray[np.uint16]],
    *,
    time_ns: Sequence[float],
    event_flag: Sequence[bool],
    frame_rate_hz: float,
    exposure_ns: int = 0,
    first_frame_number: int = 0,
    bits: int = 12,
    compression: int = UNPACKED,
    trigger_s: int = 1_767_225_600,
) -> None:
    """Write a .cine file of version 1.

    Parameters
    ----------
    path : Path
        One that exists is replaced.
    frames : sequence of (H, W) uint16
        Values fit into `bits`; 8 bits or fewer are stored in one byte.
    time_ns : sequence of float
        After the trigger, kept to a ns.
    event_flag : sequence of bool
        Whether the event input was closed.
    frame_rate_hz, exposure_ns, first_frame_number, bits, compression
        As for `phantom_cine.CineFile`.
    trigger_s : int
        Seconds from 1970 to the trigger.

    Raises
    ------
    OSError
        The disk refuses.
    """
    height, width = frames[0].shape
    stored = 8 if bits <= 8 and compression == UNPACKED else 16
    images = [_image(frame, stored, compression) for frame in frames]
    setup_at = _HEADER_BYTES + _BITMAP_BYTES
    times = b"".join(
        _time64(trigger_s, time, closed) for time, closed in zip(time_ns, event_flag, strict=True)
    )
    exposures = struct.pack("<I", round(exposure_ns * 2**32 / 1e9)) * len(images)
    blocks = b"".join(
        struct.pack("<IHH", 8 + len(content), kind, follows) + content
        for kind, follows, content in ((TIME_BLOCK, 1, times), (_EXPOSURE_BLOCK, 0, exposures))
    )
    table_at = setup_at + _SETUP_BYTES + len(blocks)
    first_image_at = table_at + 8 * len(images)
    places = first_image_at + np.cumsum([0] + [8 + len(image) for image in images[:-1]])
    header = struct.pack(
        HEADER,
        *(b"CI", _HEADER_BYTES, 0, 1, first_frame_number, len(images)),
        *(first_frame_number, len(images), _HEADER_BYTES, setup_at, table_at, 0, trigger_s),
    )
    size = len(images[0])
    bitmap = struct.pack(
        BITMAP, _BITMAP_BYTES, width, height, 1, stored, compression, size, 0, 0, 0, 0
    )
    setup = bytearray(_SETUP_BYTES)
    setup[140:142] = b"ST"
    values: dict[str, float] = {
        "length": _SETUP_BYTES,
        "rate_hz": round(frame_rate_hz),
        "bits": bits,
        "exposure_ns": exposure_ns,
        "gamma": 1.0,
        "exact_rate_hz": frame_rate_hz,
    }
    for name, value in values.items():
        offset, layout = SETUP_FIELDS[name]
        struct.pack_into(layout, setup, offset, value)
    with path.open("wb") as file:
        for piece in (header, bitmap, setup, blocks, places.astype("<u8").tobytes()):
            file.write(piece)
        for image in images:
            file.write(struct.pack("<II", 8, len(image)) + image)


def _image(frame: npt.NDArray[np.uint16], stored: int, compression: int) -> bytes:
    if compression == PACKED_12:
        return pack_12(frame)
    if compression == PACKED_10:
        return pack_10(frame)
    rows = frame[::-1].astype("u1" if stored == 8 else "<u2")
    row_bytes = rows.shape[1] * stored // 8
    return b"".join(row.tobytes() + bytes(-row_bytes % 4) for row in rows)


def _time64(trigger_s: int, time_ns: float, closed: bool) -> bytes:
    seconds, rest_ns = divmod(round(time_ns), 1_000_000_000)
    fraction = round(rest_ns * 2**32 / 1e9) & ~3
    flags = _NOT_SYNCHRONISED | (0 if closed else _INPUT_OPEN)
    return struct.pack("<II", fraction | flags, trigger_s + seconds)
