"""Plans that calibrate the pair of cameras with a mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from ophyd import EpicsMotor, Signal

from ..calibration.record import CalibrationRecord
from ..devices.dual import DualCamera
from ..devices.mesh import MeshStage
from ..devices.shutter import Shutter
from ..documents.calibration_bursts import CalibrationEvidence, calibrate_from_bursts
from ..documents.corrections import Corrections
from .acquisition import dark_flat, run_of_bursts, set_timing
from .calibrated import keep_corrections
from .collected import Collected
from .safety import Plan, connected, shut_afterwards
from .stages import Places, move

POSITIONS_MM = ((0.0, 0.0), (0.511, 0.283))
ANGLES_DEG = (15.0, 27.0, 40.0)
MESH_OUT_MM = 15.0


def grid_calibration_scan(
    dual: DualCamera,
    shutter: Shutter,
    sample: EpicsMotor,
    mesh: MeshStage,
    positions_mm: Sequence[tuple[float, float]] = POSITIONS_MM,
    angles_deg: Sequence[float] = ANGLES_DEG,
    sample_out_mm: float = 10.0,
    hr_first: int = 0,
    hr_last: int = 11,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Take both cameras' view of the mesh at several positions and angles, one event each.

    Angles 10 degrees or more apart, three better than two, prove which square of the mesh is
    which; moving it cannot. Angles between 25 and 40 degrees against the pixel rows, and positions
    that are no multiples of the pitch, average the pixel grid out.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    shutter : Shutter
        Closed at the end whatever happens.
    sample : EpicsMotor
        Taken out for the scan, and put back whatever happens.
    mesh : MeshStage
        Put back to where it was whatever happens.
    positions_mm : sequence of (float, float)
        x and y of the mesh.
    angles_deg : sequence of float
        Every position is taken at each of them.
    sample_out_mm : float
        Position of the sample out of the beam.
    hr_first, hr_last : int
        Phantom frames to keep.
    md : dict, optional
        Further metadata.

    Returns
    -------
    str
        Uid of the run, `purpose` ``calibration-grid``.
    """
    views = _views(positions_mm, angles_deg)
    places = Places([mesh.x, mesh.y, mesh.rotation, sample])
    start = {
        "plan_name": "grid_calibration_scan",
        "purpose": "calibration-grid",
        "num_bursts": len(views),
        **(md or {}),
    }

    def go(number: int) -> Plan:
        x, y, angle = views[number]
        for motor, position in ((mesh.rotation, angle), (mesh.x, x), (mesh.y, y)):
            yield from move(motor, position)

    def inner() -> Plan:
        yield from connected(dual, shutter, sample, mesh)
        yield from places.remember()
        yield from set_timing(dual, hr_first, hr_last)
        yield from move(sample, sample_out_mm)
        return (
            yield from run_of_bursts(
                dual, len(views), start, shutter, "Open", before=go, also=[mesh]
            )
        )

    return (yield from bpp.finalize_wrapper(shut_afterwards(inner(), shutter), places.restore))


def calibrate(
    dual: DualCamera,
    shutter: Shutter,
    sample: EpicsMotor,
    mesh: MeshStage,
    positions_mm: Sequence[tuple[float, float]] = POSITIONS_MM,
    angles_deg: Sequence[float] = ANGLES_DEG,
    mesh_out_mm: float = MESH_OUT_MM,
    sample_out_mm: float = 10.0,
    reference_bursts: int = 4,
    hr_first: int = 0,
    hr_last: int = 11,
    pitch_um: float = 62.0,
    pitch_sigma_um: float = 0.5,
    valid_hours: float = 24.0,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Calibrate the pair of cameras: dark, flat, mesh scan, computation, record.

    Four runs: dark, flat, calibration-grid, and the calibration itself, whose start document holds
    the whole record under ``calibration``. The record is also written to
    ``calibration/<uid>.json`` in the folder of the bursts, with what it rests on beside it.

    Parameters
    ----------
    dual, shutter, sample, mesh, positions_mm, angles_deg, sample_out_mm, hr_first, hr_last
        As for `grid_calibration_scan`.
    mesh_out_mm : float
        x of the mesh out of the beam, where it is during dark and flat.
    reference_bursts : int
        Bursts of dark, and of flat: more of them tell the storage cells of the HPV-X2 apart.
    pitch_um, pitch_sigma_um : float
        Pitch of the mesh and its uncertainty, um. It sets the um of a pixel, not the map.
    valid_hours : float
        How long runs count as calibrated by this record.
    md : dict, optional
        Further metadata of all runs.

    Returns
    -------
    str
        Uid of the calibration run: the `calibration_uid` of `dual_burst`.

    Raises
    ------
    CalibrationError
        The images do not support a calibration; the message says which and why. The bursts are
        kept.
    """
    _views(positions_mm, angles_deg)
    collected = Collected()
    places = Places([mesh.x])

    def acquire() -> Plan:
        yield from connected(mesh)
        yield from places.remember()
        yield from move(mesh.x, mesh_out_mm)
        dark_uid, flat_uid = yield from dark_flat(
            dual, shutter, sample, sample_out_mm, reference_bursts, hr_first, hr_last, md
        )
        scan_md = {"dark_uid": dark_uid, "flat_uid": flat_uid, **(md or {})}
        mesh_uid = yield from grid_calibration_scan(
            dual,
            shutter,
            sample,
            mesh,
            positions_mm,
            angles_deg,
            sample_out_mm,
            hr_first,
            hr_last,
            scan_md,
        )
        return dark_uid, flat_uid, mesh_uid

    def whole() -> Plan:
        uids = yield from collected.during(acquire)
        dark, flat, views = (collected.bursts(uid) for uid in uids)

        def compute() -> tuple[CalibrationRecord, CalibrationEvidence]:
            return calibrate_from_bursts(
                dark,
                flat,
                views,
                pitch_um=pitch_um,
                pitch_sigma_um=pitch_sigma_um,
                valid_hours=valid_hours,
            )

        tasks = yield from bps.wait_for([lambda: asyncio.to_thread(compute)])
        record, evidence = tasks.pop().result()
        corrections = Corrections(tuple(dark), tuple(flat))
        return (yield from _store(record, evidence, corrections, dual.folder, list(uids), md or {}))

    return (yield from bpp.finalize_wrapper(whole(), places.restore))


def _views(
    positions_mm: Sequence[tuple[float, float]], angles_deg: Sequence[float]
) -> list[tuple[float, float, float]]:
    views = [(x, y, angle) for angle in angles_deg for x, y in positions_mm]
    if not views:
        raise ValueError("A scan of the mesh needs at least one position and one angle.")
    return views


def _store(
    record: CalibrationRecord,
    evidence: CalibrationEvidence,
    corrections: Corrections,
    raw_folder: Path,
    parent_uids: list[str],
    md: dict[str, Any],
) -> Plan:
    start = {
        **md,
        "plan_name": "calibrate",
        "purpose": "calibration",
        "analysis_stage": "calibration",
        "parent_uids": parent_uids,
        "calibration": record.model_dump(mode="json"),
    }
    uid = yield from bps.open_run(start)
    file = CalibrationRecord.file(raw_folder, uid)
    record.save(file)
    evidence.save(file)
    keep_corrections(raw_folder, replace(corrections, calibration_uid=uid, calibration=record))
    yield from bps.create("primary")
    for name, value in headline(record).items():
        yield from bps.read(Signal(name=name, value=value))
    yield from bps.save()
    yield from bps.close_run()
    return uid


def headline(record: CalibrationRecord) -> dict[str, float]:
    """Return the numbers of a record that are worth plotting against time.

    Parameters
    ----------
    record : CalibrationRecord
        What was found; parts that were not measured are left out.
    """
    spatial = record.spatial
    numbers = {
        "map_rms_px": spatial.residuals.rms_px,
        "lr_pixel_um": spatial.lr_pixel_um,
        "hr_pixel_um": spatial.hr_pixel_um,
    }
    if record.temporal is not None:
        numbers["clock_offset_ns"] = record.temporal.offset_ns
        numbers["clock_drift_ppm"] = record.temporal.drift_ppm
    if record.radiometric is not None:
        numbers["camera_gain"] = record.radiometric.gain
        numbers["lr_flicker"] = record.radiometric.lr.flicker
    return numbers
