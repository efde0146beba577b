"""Writes a burst as an experiment case of XFusion, see `formats.xfusion_case`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.images import write_tiff
from xfusion_bluesky.formats.phantom_xml import PhantomXml, write_phantom_xml
from xfusion_bluesky.formats.shimadzu_ini import ShimadzuIni, write_shimadzu_ini
from xfusion_bluesky.formats.small_file import check_name
from xfusion_bluesky.formats.xfusion_case import LR_FOLDER

__all__ = ["write_case"]

_TICK_NS = 10
_START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def write_case(
    folder: Path,
    lr_frames: Iterable[npt.NDArray[np.uint16]],
    hr_frames: Iterable[npt.NDArray[np.uint16]],
    *,
    lr_time_ns: Sequence[float],
    hr_time_ns: Sequence[float],
    hr_event_flag: Sequence[bool],
    lr_interval_ns: int | None = None,
    hr_frame_rate_hz: float | None = None,
    start: datetime = _START,
) -> None:
    """Write a case, in a folder that does not exist yet.

    Parameters
    ----------
    folder : Path
        The case; its name becomes part of file names.
    lr_frames, hr_frames : iterable of (H, W) uint16
        Images, as the cameras record them.
    lr_time_ns, hr_time_ns : sequence of float
        One a frame. XFusion takes the first HR frame with event flag for the moment of LR
        frame 0; HR times are written in steps of 10 ns, LR times in whole ns.
    hr_event_flag : sequence of bool
        HR frames in which the Shimadzu recorded.
    lr_interval_ns : int, optional
        As set; the median of the differences by default.
    hr_frame_rate_hz : float, optional
        As set; that of the median difference by default.
    start : datetime
        Wall clock at HR time 0.

    Raises
    ------
    FormatError
        The folder exists, or its name cannot be one.
    ValueError
        Frames, times and flags are not equally many.
    OSError
        The disk refuses.
    """
    check_name(folder.name, "The case")
    if folder.exists():
        raise FormatError(f"{folder} exists already; nothing was written.")
    lr_folder = folder / LR_FOLDER / folder.name
    hr_folder = folder / f"{folder.name}_phantom"
    lr_folder.mkdir(parents=True)
    hr_folder.mkdir()
    n_lr = _write_images(lr_folder, f"{folder.name}_{{:03d}}.tiff", 1, lr_frames)
    n_hr = _write_images(hr_folder, "img_{:06d}.tif", 0, hr_frames)
    if n_lr != len(lr_time_ns) or not n_hr == len(hr_time_ns) == len(hr_event_flag):
        raise ValueError(
            f"{n_lr} LR frames with {len(lr_time_ns)} times, {n_hr} HR frames with "
            f"{len(hr_time_ns)} times and {len(hr_event_flag)} flags"
        )
    write_shimadzu_ini(
        folder / f"{folder.name}.ini",
        ShimadzuIni(
            lr_interval_ns or max(1, round(_step(lr_time_ns))),
            tuple(round(time - lr_time_ns[0]) for time in lr_time_ns),
        ),
    )
    zero_ns = round(start.replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    times = tuple(zero_ns + round(time / _TICK_NS) * _TICK_NS for time in hr_time_ns)
    rate_hz = hr_frame_rate_hz or 1e9 / _step(hr_time_ns)
    flags = tuple(bool(flag) for flag in hr_event_flag)
    write_phantom_xml(hr_folder / f"{folder.name}.xml", PhantomXml(rate_hz, times, flags))


def _write_images(
    folder: Path, name: str, first: int, frames: Iterable[npt.NDArray[np.uint16]]
) -> int:
    number = 0
    for number, frame in enumerate(frames, 1):
        write_tiff(folder / name.format(first + number - 1), frame)
    return number


def _step(times_ns: Sequence[float]) -> float:
    return float(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 1000.0
