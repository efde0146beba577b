"""What a plan asks of a calibration before it calls its data calibrated."""

from __future__ import annotations

import logging
from pathlib import Path

import bluesky.plan_stubs as bps
from pydantic import TypeAdapter, ValidationError

from ..calibration.errors import CalibrationError
from ..calibration.record import CalibrationRecord
from ..devices.camera import BurstCamera
from ..devices.dual import DualCamera
from ..documents.corrections import Corrections
from .safety import Plan

_CORRECTIONS = TypeAdapter(Corrections)
_LOG = logging.getLogger(__name__)


def find_calibration(dual: DualCamera, uid: str) -> CalibrationRecord:
    """Return the record of a calibration run.

    Parameters
    ----------
    dual : DualCamera
        Whose folder holds the records.
    uid : str
        What `calibrate` returned.

    Raises
    ------
    CalibrationError
        There is no such record, or it is damaged.
    """
    record = CalibrationRecord.load(CalibrationRecord.file(dual.folder, uid))
    if record.age_hours() > record.valid_hours:
        _LOG.warning(
            "Calibration %s is %.1f h old and was good for %.1f h. The run is taken with it, and "
            "says so; RE(check_registration(...)) shows whether the cameras have moved.",
            uid,
            record.age_hours(),
            record.valid_hours,
        )
    return record


def keep_corrections(raw_folder: Path, corrections: Corrections) -> None:
    """Keep what a calibration corrects bursts with beside its record, for plans to come.

    Parameters
    ----------
    raw_folder : Path
        Folder of the bursts.
    corrections : Corrections
        With a calibration.
    """
    file = _corrections_file(raw_folder, str(corrections.calibration_uid))
    file.write_bytes(_CORRECTIONS.dump_json(corrections))


def find_corrections(dual: DualCamera, uid: str) -> Corrections:
    """Return what a calibration corrects bursts with.

    Parameters
    ----------
    dual : DualCamera
        Whose folder holds the records.
    uid : str
        What `calibrate` returned.

    Raises
    ------
    CalibrationError
        There is no such calibration, or its files are damaged.
    """
    find_calibration(dual, uid)
    file = _corrections_file(dual.folder, uid)
    try:
        return _CORRECTIONS.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise CalibrationError(
            f"{file} does not say which dark and flat belong to calibration {uid}: "
            f"{' '.join(str(error).split())[:200]}. Calibrate again; the record itself and the "
            "data are safe."
        ) from error


def _corrections_file(raw_folder: Path, uid: str) -> Path:
    return CalibrationRecord.file(raw_folder, uid).with_suffix(".corrections.json")


def check_calibration(dual: DualCamera, record: CalibrationRecord | None) -> Plan:
    """Compare the readout regions of now with those of a calibration; None passes.

    Raises
    ------
    CalibrationMismatch
        They differ; nothing was armed.
    """
    if record is None:
        return
    lr_shape = yield from _frame_shape(dual.shimadzu)
    hr_shape = yield from _frame_shape(dual.phantom)
    record.check_frames(lr_shape, hr_shape)


def _frame_shape(camera: BurstCamera) -> Plan:
    rows = yield from bps.rd(camera.rows)
    columns = yield from bps.rd(camera.columns)
    return int(rows), int(columns)
