"""The .dat file in which HPV-X2 software keeps a burst, as people have understood it.

The file is a row of records: a tag of 4 bytes, 10 bytes that nobody has explained, then the value.
The layout follows public descriptions; no file of a camera was at hand.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.open_file import BinaryPart, open_binary
from xfusion_bluesky.formats.small_file import UNCHANGED

__all__ = ["HpvRecording", "read_hpv_dat", "write_hpv_dat"]

SHAPE = (250, 400)
"""Rows and columns of every HPV-X2 frame."""

_INTERVAL = bytes.fromhex("30300730")
_EXPOSURE = bytes.fromhex("30300830")
_RECORDED = bytes.fromhex("40400e40")
_FRAMES = bytes.fromhex("60600560")
_FIRST_TIME = bytes.fromhex("60600660")
_PIXELS = bytes.fromhex("a0a001a0")
_HEAD_BYTES = 14
_MOST_HEADER_BYTES = 1 << 20
_MOST_FRAMES = 65_536
_FRAME_BYTES = 2 * SHAPE[0] * SHAPE[1]
_DIGITS = re.compile(rb"\s*(-?[0-9]{1,12})")


@dataclass(frozen=True)
class HpvRecording:
    """A burst whose frames are read when they are wanted.

    Parameters
    ----------
    path : Path
        The file.
    frames : int
        How many there are.
    interval_ns, exposure_ns : int
        As set; 0 where the file does not say.
    first_time_ns : int
        Relative time of the first frame.
    recorded : datetime or None
        Wall clock of the camera's computer.
    offset : int
        Where the pixels begin.
    """

    path: Path
    frames: int
    interval_ns: int
    exposure_ns: int
    first_time_ns: int
    recorded: datetime | None
    offset: int

    @property
    def relative_ns(self) -> tuple[int, ...]:
        """Time of each frame."""
        return tuple(self.first_time_ns + k * self.interval_ns for k in range(self.frames))

    def frame(self, k: int) -> npt.NDArray[np.uint16]:
        """Return frame `k`, (250, 400) uint16 as stored, first row on top.

        An HPV-X2 has 10 bits, which stand in the upper part of the 16: shift right by 6.

        Raises
        ------
        FormatError
            The file has become shorter.
        IndexError
            There is no such frame.
        """
        if not 0 <= k < self.frames:
            raise IndexError(k)
        with open_binary(self.path) as part:
            data = part.read(self.offset + k * _FRAME_BYTES, _FRAME_BYTES, f"frame {k}")
        rows = np.frombuffer(data, dtype="<u2").reshape(SHAPE)
        return np.ascontiguousarray(rows[::-1]).astype(np.uint16, copy=False)


def read_hpv_dat(path: Path) -> HpvRecording:
    """Find the records of a .dat file; its pixels are not read yet.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FormatError
        It is no such file, or cut short.
    """
    with open_binary(path) as part:
        head = part.read(0, min(part.size, _MOST_HEADER_BYTES), "its head")
        at = head.find(_PIXELS)
        if at < 0:
            raise part.wrong("the tag of the pixels (a0 a0 01 a0) is missing")
        # Behind the pixels a tag could be found that is part of an image.
        head, offset = head[:at], at + _HEAD_BYTES
        stored = (part.size - offset) // _FRAME_BYTES
        count = _value(head, _FRAMES, 4)
        frames = stored if count is None else int.from_bytes(count, "little")
        if not 1 <= frames <= _MOST_FRAMES:
            raise part.wrong(f"it says that it holds {frames} frames")
        if frames > stored:
            raise part.wrong(
                f"it says that it holds {frames} frames of {SHAPE[1]} x {SHAPE[0]} px, but ends "
                f"after {max(0, stored)}"
            )
        return HpvRecording(
            path,
            frames,
            _number(part, head, _INTERVAL, "the frame interval", least=1),
            _number(part, head, _EXPOSURE, "the exposure", default=0),
            _number(part, head, _FIRST_TIME, "the time of the first frame", default=0),
            _moment(_value(head, _RECORDED, 16)),
            offset,
        )


def write_hpv_dat(
    path: Path,
    frames: Sequence[npt.NDArray[np.uint16]],
    *,
    interval_ns: int,
    exposure_ns: int,
    recorded: datetime,
    first_time_ns: int = 0,
) -> None:
    """Write such a file, for tests and for programs that read nothing else.

    Parameters
    ----------
    path : Path
        One that exists is replaced.
    frames : sequence of (250, 400) uint16
        As stored, first row on top.
    interval_ns, exposure_ns, first_time_ns : int
        As for `HpvRecording`.
    recorded : datetime
        Wall clock.

    Raises
    ------
    FormatError
        A frame has another size.
    OSError
        The disk refuses.
    """
    for k, frame in enumerate(frames):
        if frame.shape != SHAPE:
            raise FormatError(
                f"Frame {k} for {path} has the shape {frame.shape}, an HPV-X2 has {SHAPE}. "
                f"{UNCHANGED}"
            )
    moment = struct.pack(
        "<8H",
        *(recorded.year, recorded.month, recorded.isoweekday() % 7, recorded.day),
        *(recorded.hour, recorded.minute, recorded.second, recorded.microsecond // 1000),
    )
    records = {
        _INTERVAL: _text(interval_ns),
        _EXPOSURE: _text(exposure_ns),
        _RECORDED: moment,
        _FRAMES: len(frames).to_bytes(4, "little"),
        _FIRST_TIME: _text(first_time_ns),
        _PIXELS: b"".join(frame[::-1].astype("<u2").tobytes() for frame in frames),
    }
    unknown = bytes(_HEAD_BYTES - 4)
    path.write_bytes(b"".join(tag + unknown + value for tag, value in records.items()))


def _text(number: int) -> bytes:
    return str(number).encode("ascii") + b"\0"


def _value(head: bytes, tag: bytes, count: int) -> bytes | None:
    at = head.find(tag)
    value = head[at + _HEAD_BYTES : at + _HEAD_BYTES + count]
    return value if at >= 0 and len(value) == count else None


def _number(
    part: BinaryPart,
    head: bytes,
    tag: bytes,
    what: str,
    *,
    default: int | None = None,
    least: int = -(1 << 40),
) -> int:
    at = head.find(tag)
    if at < 0 and default is not None:
        return default
    found = _DIGITS.match(head, at + _HEAD_BYTES) if at >= 0 else None
    if found is None or int(found[1]) < least:
        raise part.wrong(f"{what} (tag {tag.hex(' ')}) is missing, or no number")
    return int(found[1])


def _moment(value: bytes | None) -> datetime | None:
    if value is None:
        return None
    year, month, _, day, hour, minute, second, milliseconds = struct.unpack("<8H", value)
    try:
        return datetime(year, month, day, hour, minute, second, milliseconds * 1000)
    except ValueError:
        # When it was recorded is nice to know; the images do not depend on it.
        return None
