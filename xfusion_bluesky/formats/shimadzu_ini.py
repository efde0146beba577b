"""The .ini file that a Shimadzu HPV-X2 leaves beside an exported burst: times of the images."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.small_file import UNCHANGED, read_small

__all__ = ["ShimadzuIni", "read_shimadzu_ini", "write_shimadzu_ini"]

_MOST_BYTES = 4_000_000
_MOST_FRAMES = 65_536
# Eighteen digits are 31 years in ns, and fit into 64 bits.
_WHOLE = re.compile(r"([+-]?)([0-9][0-9,]{0,23})\s*(ns)?", re.ASCII)
_MOST_DIGITS = 15
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


@dataclass(frozen=True)
class ShimadzuIni:
    """Times of a burst.

    Parameters
    ----------
    interval_ns : int
        Time from frame to frame that was set, ``RecSpeed``.
    relative_ns : tuple of int
        Time of each image as the camera says it, ``ImageRelative``.
    """

    interval_ns: int
    relative_ns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.relative_ns)


def read_shimadzu_ini(path: Path) -> ShimadzuIni:
    """Read ``RecSpeed``, ``RecFrame`` and every ``ImageRelative``; other keys are passed over.

    Parameters
    ----------
    path : Path
        The .ini file.

    Raises
    ------
    FormatError
        It is no such file, a key is missing or no number, or a time is not after the one before.
    """
    text = _text(path, read_small(path, _MOST_BYTES))
    parser = configparser.RawConfigParser(delimiters=("=",), allow_no_value=True)
    try:
        parser.read_string(text, source=path.name)
    except (configparser.Error, ValueError, AttributeError) as error:
        # AttributeError: a continued line below a key without value.
        raise _wrong(path, f"it is no INI file: {' '.join(str(error).split())[:200]}") from error
    interval_ns = _whole(path, parser, "REC_INFO", "RecSpeed", unit_required=True)
    frames = _whole(path, parser, "REC_INFO", "RecFrame")
    if interval_ns < 1:
        raise _wrong(path, f"[REC_INFO] RecSpeed is {interval_ns} ns")
    if not 1 <= frames <= _MOST_FRAMES:
        raise _wrong(path, f"[REC_INFO] RecFrame is {frames}, no number of frames of this camera")
    times: list[int] = []
    for number in range(1, frames + 1):
        section = f"IMAGE_INFO_{number}"
        times.append(_whole(path, parser, section, "ImageRelative"))
        if number > 1 and times[-1] <= times[-2]:
            raise _wrong(
                path,
                f"[{section}] ImageRelative is {times[-1]} ns, not after the image before, which "
                f"was taken at {times[-2]} ns",
            )
    return ShimadzuIni(interval_ns, tuple(times))


def write_shimadzu_ini(path: Path, ini: ShimadzuIni) -> None:
    """Write such a file, with the keys that `read_shimadzu_ini` reads.

    Parameters
    ----------
    path : Path
        One that exists is replaced.
    ini : ShimadzuIni
        What it shall say.

    Raises
    ------
    OSError
        The disk refuses.
    """
    lines = ["[REC_INFO]", f"RecSpeed={ini.interval_ns:,}ns", f"RecFrame={len(ini)}"]
    for number, time_ns in enumerate(ini.relative_ns, 1):
        lines += ["", f"[IMAGE_INFO_{number}]", f"ImageRelative={time_ns}"]
    path.write_text("\r\n".join([*lines, ""]), encoding="ascii", newline="")


def _text(path: Path, data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "latin-1")
    try:
        # Keys and numbers are ASCII; comments may be in the Windows code page of any country.
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _wrong(path, f"it is no text in {encoding}") from error
    if "\0" in text:
        raise _wrong(path, "it holds NUL characters, so it is no text")
    return text


def _whole(
    path: Path,
    parser: configparser.RawConfigParser,
    section: str,
    key: str,
    *,
    unit_required: bool = False,
) -> int:
    try:
        text = parser.get(section, key) or ""
    except configparser.Error as error:
        raise _wrong(path, f"[{section}] {key} is missing") from error
    found = _WHOLE.fullmatch(text.strip())
    digits = found[2].replace(",", "") if found else ""
    if found is None or len(digits) > _MOST_DIGITS or (unit_required and not found[3]):
        wanted = "a whole number of ns such as 5,000ns" if unit_required else "a whole number"
        raise _wrong(path, f"[{section}] {key} is {text[:60]!a}, not {wanted}")
    return int(found[1] + digits)


def _wrong(path: Path, why: str) -> FormatError:
    return FormatError(
        f"The Shimadzu file {path} cannot be used: {why}. Export the burst again. {UNCHANGED}"
    )
