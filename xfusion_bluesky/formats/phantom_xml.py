"""The .xml file that Phantom software leaves beside exported images: when each was taken."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.small_file import UNCHANGED, read_small

__all__ = ["PhantomXml", "read_phantom_xml", "write_phantom_xml"]

_MOST_BYTES = 128_000_000
_MOST_FRAMES = 1_000_000
_MOST_CHARACTERS = 100
_DEEPEST = 64
_SETTINGS = {("CameraSetup", "FrameRateDouble"), ("CameraSetup", "Gamma")}
_LISTS = {("TIMEBLOCK", "Date"), ("TIMEBLOCK", "Time")}
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)\.(\d{3})\s+(\d{3})\.(\d{2})(?:\s+(\S+))?", re.ASCII)
_DATE = re.compile(r"[A-Za-z]+[ ,]+([A-Z][a-z]{2})[a-z]*[ ,]+(\d{1,2})[ ,]+(\d{4})", re.ASCII)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_TICK_NS = 10
_EVENT = "E"


@dataclass(frozen=True)
class PhantomXml:
    """Times of the frames of a cine.

    Parameters
    ----------
    frame_rate_hz : float
        ``FrameRateDouble``.
    time_ns : tuple of int
        Of each frame, ns since 1970 by the wall clock of the camera's place, in steps of 10 ns.
    event_flag : tuple of bool
        Whether the camera saw its event input during the frame (``E``).
    """

    frame_rate_hz: float
    time_ns: tuple[int, ...]
    event_flag: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.time_ns)


def read_phantom_xml(path: Path) -> PhantomXml:
    """Read frame rate and times; the gamma of the images must have been 0, that is linear.

    Times are read as they stand: no time zone and no daylight saving is applied, so differences
    are exact. Document types and entities are refused, they have no place in such a file.

    Parameters
    ----------
    path : Path
        The .xml file.

    Raises
    ------
    FormatError
        It is no such file, a tag is missing or wrong, gamma is not 0, or a time is not after the
        one before.
    """
    found = _parse(path, read_small(path, _MOST_BYTES))
    rate_hz = _number(path, found, "FrameRateDouble")
    if not 0 < rate_hz < 1e9:
        raise _wrong(path, f"CameraSetup/FrameRateDouble is {rate_hz:g}, no rate in Hz")
    gamma = _number(path, found, "Gamma")
    if gamma != 0:
        raise _wrong(
            path,
            f"CameraSetup/Gamma is {gamma:g}: brightness is not proportional to dose",
            "Set gamma to 0 in the Phantom software and export the images again.",
        )
    dates, times = found.lists["Date"], found.lists["Time"]
    if not times or len(dates) != len(times):
        raise _wrong(path, f"TIMEBLOCK has {len(dates)} dates and {len(times)} times")
    moments, flags = [], []
    days: dict[str, int] = {}
    for frame, (day, time) in enumerate(zip(dates, times, strict=True)):
        if day not in days:
            days[day] = _day_number(path, frame, day)
        moment, flag = _time_of_day(path, frame, time)
        moments.append(days[day] * 86_400_000_000_000 + moment)
        flags.append(flag)
        if frame and moments[-1] <= moments[-2]:
            raise _wrong(
                path,
                f"TIMEBLOCK/Time of frame {frame} is {moments[-2] - moments[-1]} ns before that "
                "of the frame before, or equal to it",
            )
    return PhantomXml(rate_hz, tuple(moments), tuple(flags))


def write_phantom_xml(
    path: Path, xml: PhantomXml, frame_numbers: Sequence[int] | None = None
) -> None:
    """Write such a file, with the tags that `read_phantom_xml` reads.

    Parameters
    ----------
    path : Path
        One that exists is replaced.
    xml : PhantomXml
        What it shall say; times in steps of 10 ns.
    frame_numbers : sequence of int, optional
        The camera's own numbers, the attribute ``Frame``; counted from 0 by default.

    Raises
    ------
    OSError
        The disk refuses.
    """
    numbers = range(len(xml)) if frame_numbers is None else frame_numbers
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<chd>",
        "  <CameraSetup>",
        f"    <FrameRateDouble>{xml.frame_rate_hz!r}</FrameRateDouble>",
        "    <Gamma>0</Gamma>",
        "  </CameraSetup>",
        "  <TIMEBLOCK>",
    ]
    for number, time_ns, event in zip(numbers, xml.time_ns, xml.event_flag, strict=True):
        seconds, rest_ns = divmod(time_ns, 1_000_000_000)
        day, second = divmod(seconds, 86_400)
        moment = date.fromordinal(_EPOCH + day)
        ticks = f"{rest_ns // _TICK_NS:08d}"
        clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        text = f"{clock}.{ticks[:3]} {ticks[3:6]}.{ticks[6:]}"
        text += f" {_EVENT}" if event else ""
        name = f"{_DAYS[moment.weekday()]} {_MONTHS[moment.month - 1]}"
        lines.append(
            f'    <Date Frame="{number}">{name} {moment.day:02d} {moment.year}</Date>\n'
            f'    <Time Frame="{number}">{escape(text)}</Time>'
        )
    path.write_text("\n".join([*lines, "  </TIMEBLOCK>", "</chd>", ""]), encoding="ascii")


_EPOCH = datetime(1970, 1, 1).toordinal()


@dataclass
class _Found:
    """What the parser has collected so far."""

    path: Path
    place: list[str] = field(default_factory=list)
    text: list[str] | None = None
    length: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=lambda: {"Date": [], "Time": []})

    def start(self, tag: str, _attributes: object) -> None:
        self.place.append(tag)
        if len(self.place) > _DEEPEST:
            raise _wrong(self.path, f"tags are nested more than {_DEEPEST} deep")
        wanted = tuple(self.place[1:])
        self.text = [] if wanted in _SETTINGS or wanted in _LISTS else None
        self.length = 0

    def characters(self, text: str) -> None:
        if self.text is not None:
            self.length += len(text)
            if self.length > _MOST_CHARACTERS:
                raise _wrong(
                    self.path,
                    f"{'/'.join(self.place[1:])} holds more than {_MOST_CHARACTERS} characters",
                )
            self.text.append(text)

    def end(self, tag: str) -> None:
        wanted = tuple(self.place[1:])
        if self.text is not None:
            text = " ".join("".join(self.text).split())
            if wanted in _LISTS:
                self._append(tag, text)
            elif tag in self.settings:
                raise _wrong(self.path, f"CameraSetup/{tag} is there twice")
            else:
                self.settings[tag] = text
        self.text = None
        self.place.pop()

    def _append(self, tag: str, text: str) -> None:
        if len(self.lists[tag]) == _MOST_FRAMES:
            raise _wrong(self.path, f"TIMEBLOCK holds more than {_MOST_FRAMES} frames")
        self.lists[tag].append(text)

    def refuse(self, *_: object) -> NoReturn:
        raise _wrong(
            self.path,
            "it declares a document type or entities, which no camera writes",
            "Do not use this file: ask where it comes from.",
        )


def _parse(path: Path, data: bytes) -> _Found:
    found = _Found(path)
    parser = expat.ParserCreate()
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.characters
    parser.StartDoctypeDeclHandler = found.refuse
    parser.EntityDeclHandler = found.refuse
    parser.ExternalEntityRefHandler = found.refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        # LookupError, ValueError: an encoding that Python does not know.
        if isinstance(error, FormatError):
            raise
        raise _wrong(path, f"it is no XML: {error}") from error
    return found


def _number(path: Path, found: _Found, tag: str) -> float:
    text = found.settings.get(tag)
    if text is None:
        raise _wrong(path, f"CameraSetup/{tag} is missing")
    try:
        value = float(text)
    except ValueError as error:
        raise _wrong(path, f"CameraSetup/{tag} is {text!a}, no number") from error
    if not math.isfinite(value):
        raise _wrong(path, f"CameraSetup/{tag} is {text!a}, no number")
    return value


def _day_number(path: Path, frame: int, text: str) -> int:
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        day = date(int(found[3]), _MONTHS.index(found[1]) + 1, int(found[2]))
    except ValueError as error:
        raise _wrong(
            path,
            f"TIMEBLOCK/Date of frame {frame} is {text!a}, no date such as 'Wed Jan 17 2024'",
        ) from error
    return day.toordinal() - _EPOCH


def _time_of_day(path: Path, frame: int, text: str) -> tuple[int, bool]:
    found = _TIME.fullmatch(text)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3]) > 60:
        raise _wrong(
            path,
            f"TIMEBLOCK/Time of frame {frame} is {text!a}, no time such as '17:21:28.370 117.57 E'",
        )
    seconds = (int(found[1]) * 60 + int(found[2])) * 60 + int(found[3])
    ticks = int(found[4] + found[5] + found[6])
    return seconds * 1_000_000_000 + ticks * _TICK_NS, found[7] == _EVENT


def _wrong(
    path: Path, why: str, action: str = "Export the times from the Phantom software again."
) -> FormatError:
    return FormatError(f"The Phantom file {path} cannot be used: {why}. {action} {UNCHANGED}")
