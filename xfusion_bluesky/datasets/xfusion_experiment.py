"""An experiment of XFusion becomes a raw run, as if the plan `dual_burst` had taken it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.configuration import Folders
from xfusion_bluesky.datasets.imported_documents import imported_documents
from xfusion_bluesky.devices.burst_file import BurstFile
from xfusion_bluesky.devices.faults import DeviceFault
from xfusion_bluesky.documents.journal import JournalWriter, journal_path
from xfusion_bluesky.documents.paths import checked_uid
from xfusion_bluesky.formats.burst_file_writer import write_burst_file
from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.xfusion_case import ExperimentCase

__all__ = ["ImportedRun", "hr_range", "import_case"]

PLAN_NAME = "import_xfusion"
_NAMESPACE = uuid.UUID("d7a2c9f4-5e0b-5c67-9a53-0b7a4c1de8f1")
_SPACE_FACTOR = 1.2
_HPVX2_BIT_SHIFT = 6
_TIME_ZERO = "first Phantom frame with event flag = Shimadzu image 1, as XFusion assumes"
UInt16Array = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class ImportedRun:
    """What became of a case.

    Parameters
    ----------
    case : str
        Its name.
    uid : str
        Of the raw run.
    is_new : bool
        False when the same images and times had been imported before; nothing was written then.
    """

    case: str
    uid: str
    is_new: bool


def import_case(
    case: ExperimentCase,
    folders: Folders,
    *,
    sample_name: str | None = None,
    calibration_uid: str | None = None,
    all_frames: bool = False,
    on_frame: Callable[[], object] = lambda: None,
) -> ImportedRun:
    """Write the images of a case to burst files and its documents to the journal.

    The images stay as they were recorded: the HR camera's mirror belongs to the calibration. Its
    service takes the run from the journal, now or when it starts.

    Parameters
    ----------
    case : ExperimentCase
        With times of both cameras.
    folders : Folders
        Of the configuration, absolute.
    sample_name : str, optional
        The name of the case by default.
    calibration_uid : str, optional
        Of a calibration record of these two cameras.
    all_frames : bool
        Take all Phantom frames, not only those of `hr_range`.
    on_frame : callable
        Called after each image.

    Returns
    -------
    ImportedRun
        Its uid follows from images and times, so that no case is imported twice.

    Raises
    ------
    FormatError
        An image is damaged, or differs from the first. Nothing is left behind.
    UnsafePath
        `calibration_uid` cannot be one.
    OSError
        The disk is full, or refuses. Nothing is left behind.
    """
    if calibration_uid is not None:
        checked_uid(calibration_uid)
    hr = range(case.n_hr) if all_frames else hr_range(case)
    _check_space(case, len(hr), folders.raw)
    folders.journal.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folders.raw) as draft:
        content = _Content()
        _write_files(case, hr, Path(draft), content, on_frame)
        uid = str(uuid.uuid5(_NAMESPACE, content.digest.hexdigest()))
        if journal_path(folders.journal, uid).exists():
            return ImportedRun(case.name, uid, False)
        target = folders.raw / uid
        # Without a journal it is what an import left that was killed: the same images.
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        try:
            for file in sorted(Path(draft).iterdir()):
                file.rename(target / file.name)
            shapes = {
                "phantom": (len(hr), *case.hr_shape),
                "shimadzu": (case.n_lr, *case.lr_shape),
            }
            files = {camera: _verified(target, camera, shape) for camera, shape in shapes.items()}
            start = {
                "plan_name": PLAN_NAME,
                "purpose": "dual-burst",
                "dark_uid": None,
                "flat_uid": None,
                "calibration_uid": calibration_uid,
                "sample_name": case.name if sample_name is None else sample_name,
                "source": _source(case, hr),
            }
            settings = {
                "phantom_trigger_delay_ns": 0.0,
                "shimadzu_trigger_delay_ns": 0.0,
                "phantom_acquire_period": case.hr_interval_ns * 1e-9,
                "shimadzu_record_interval_ns": case.lr_interval_ns,
                "shimadzu_bit_shift": content.lr_bit_shift,
            }
            is_new = _publish(folders.journal, uid, imported_documents(uid, start, files, settings))
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    return ImportedRun(case.name, uid, is_new)


def hr_range(case: ExperimentCase) -> range:
    """Return which Phantom frames a case needs, with or without event flag.

    From the last at or before the first Shimadzu image to the first at or after the last one, so
    that as many Shimadzu images as possible have a Phantom frame on both sides.

    Parameters
    ----------
    case : ExperimentCase
        With times of both cameras.
    """
    first = int(np.searchsorted(case.hr_time_ns, case.lr_time_ns[0], side="right")) - 1
    last = int(np.searchsorted(case.hr_time_ns, case.lr_time_ns[-1], side="left"))
    return range(max(0, first), min(last, case.n_hr - 1) + 1)


@dataclass
class _Content:
    """What the images are, found out while they are written."""

    digest: Any = field(default_factory=hashlib.sha256)
    lr_bits: int = 0

    @property
    def lr_bit_shift(self) -> int:
        """6 when no LR pixel uses the six lowest bits: ten bits that stand in the upper part."""
        unused = self.lr_bits & ((1 << _HPVX2_BIT_SHIFT) - 1) == 0
        return _HPVX2_BIT_SHIFT if unused and self.lr_bits else 0


def _write_files(
    case: ExperimentCase,
    hr: range,
    folder: Path,
    content: _Content,
    on_frame: Callable[[], object],
) -> None:
    def lr_frames() -> Iterator[UInt16Array]:
        for k in range(case.n_lr):
            frame = case.lr_frame(k)
            content.digest.update(np.ascontiguousarray(frame))
            content.lr_bits |= int(np.bitwise_or.reduce(frame, axis=None))
            yield frame
            on_frame()

    def hr_frames() -> Iterator[UInt16Array]:
        for k in hr:
            frame = case.hr_frame(k)
            content.digest.update(np.ascontiguousarray(frame))
            yield frame
            on_frame()

    chosen = list(hr)
    trigger = int(np.argmax(case.hr_event_flag))
    times = case.lr_time_ns, case.hr_time_ns[chosen], case.hr_event_flag[chosen]
    for values in (*times, np.array([*case.lr_shape, *case.hr_shape])):
        content.digest.update(np.ascontiguousarray(values))
    write_burst_file(
        folder / "shimadzu_0000.h5",
        lr_frames(),
        (case.n_lr, *case.lr_shape),
        frame_number=range(case.n_lr),
        frame_time_ns=times[0].tolist(),
        event_flag=[True] * case.n_lr,
    )
    write_burst_file(
        folder / "phantom_0000.h5",
        hr_frames(),
        (len(hr), *case.hr_shape),
        frame_number=[k - trigger for k in chosen],
        frame_time_ns=times[1].tolist(),
        event_flag=times[2].tolist(),
    )


def _verified(folder: Path, camera: str, shape: tuple[int, int, int]) -> BurstFile:
    try:
        return BurstFile.verify(folder / f"{camera}_0000.h5", shape)
    except DeviceFault as fault:
        raise OSError(f"{fault.finding}; the images of the case are as they were") from fault


def _source(case: ExperimentCase, hr: range) -> dict[str, Any]:
    # Names only: where the folder was on some computer says nothing to anybody else.
    return {
        "format": "xfusion-case",
        "folder": case.path.parent.name,
        "case": case.name,
        "recorded": None if case.recorded is None else case.recorded.isoformat(),
        "phantom_images": [hr.start, hr.stop - 1],
        "time_zero": _TIME_ZERO,
    }


def _publish(journal: Path, uid: str, documents: Iterator[tuple[str, dict[str, Any]]]) -> bool:
    """Make the whole journal of a run appear at once; False when somebody else was faster."""
    with tempfile.TemporaryDirectory(prefix=".import-", dir=journal) as draft:
        writer = JournalWriter(Path(draft), uid)
        try:
            for name, document in documents:
                writer.append(name, document)
        finally:
            writer.close()
        try:
            os.link(writer.path, journal_path(journal, uid))
        except FileExistsError:
            return False
    return True


def _check_space(case: ExperimentCase, hr_frames: int, raw: Path) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    pixels = case.n_lr * int(np.prod(case.lr_shape)) + hr_frames * int(np.prod(case.hr_shape))
    needed = int(_SPACE_FACTOR * 2 * pixels)
    free = shutil.disk_usage(raw).free
    if free < needed:
        raise FormatError(
            f"The case {case.path} needs {needed / 1e9:.3g} GB in {raw}, where {free / 1e9:.3g} GB "
            "are free: make room. Nothing was written."
        )
