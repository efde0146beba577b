"""Calibrating the simulated beamline: what an operator does, and what can stand in the way."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from simulated_instrument import Instrument, await_true, meanwhile

from xfusion_bluesky.calibration.errors import CalibrationError, CalibrationMismatch
from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.documents.raw import bursts_of


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrated") / "raw"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return {}


@pytest.fixture
def calibrated(instrument: Instrument, shared_folder: Path, made: dict[str, str]) -> str:
    """Uid of one calibration for all tests; its documents are those of the test that made it."""
    from xfusion_bluesky.plans import calibrate

    instrument.dual.folder = shared_folder
    if not made:
        result = instrument.RE(
            calibrate(
                instrument.dual,
                instrument.shutter,
                instrument.sample,
                instrument.mesh,
                reference_bursts=1,
                hr_last=3,
                md={"sample_name": "mesh"},
            )
        )
        made["uid"] = result.plan_result
    return made["uid"]


def test_calibrate_finds_the_map_and_puts_everything_back(
    instrument: Instrument, calibrated: str
) -> None:
    starts = instrument.named("start")
    assert [start["purpose"] for start in starts] == [
        "dark",
        "flat",
        "calibration-grid",
        "calibration",
    ]
    assert instrument.exit_statuses() == ["success"] * 4
    assert starts[-1]["uid"] == calibrated
    assert starts[-1]["parent_uids"] == [start["uid"] for start in starts[:3]]
    record = CalibrationRecord.model_validate(starts[-1]["calibration"])
    assert record == CalibrationRecord.load(
        CalibrationRecord.file(instrument.dual.folder, calibrated)
    )
    # A clean scintillator shows nothing.
    assert record.spatial.lattice.method in ("rotation", "mesh-defects")
    assert record.spatial.lattice.margin >= 1
    grid = _true_map(instrument)
    found = grid[:, :2] @ record.spatial.affine[:, :2].T + record.spatial.affine[:, 2]
    # Five rows of cells, and a tenth of the pixels at the end of the scale; the demonstration
    # is held to a better map.
    assert np.sqrt(np.square(found - grid[:, 2:]).sum(axis=1).mean()) < 0.2
    assert any(remark.startswith("The clocks were not compared") for remark in record.remarks)
    events = [event["data"] for event in instrument.named("event") if "mesh_x" in event["data"]]
    assert [round(event["mesh_rotation"]) for event in events] == [15, 15, 27, 27, 40, 40]
    assert abs(instrument.mesh.x.position - 15) < 0.01
    assert abs(instrument.mesh.rotation.position) < 0.01
    assert abs(instrument.sample.position) < 0.01
    assert instrument.is_safe()


def _true_map(instrument: Instrument) -> np.ndarray:
    (burst, *_) = bursts_of(instrument.documents[: _end_of_first_run(instrument)])
    file = burst.shimadzu.file
    with h5py.File(file.with_name(f"{file.stem}.truth.h5")) as truth:
        return np.asarray(truth["truth"].attrs["lr_to_hr_grid"])


def _end_of_first_run(instrument: Instrument) -> int:
    return [name for name, _ in instrument.documents].index("stop")


def test_bursts_are_taken_with_the_dark_and_flat_of_the_calibration(
    instrument: Instrument, calibrated: str
) -> None:
    from xfusion_bluesky.plans import dual_burst

    instrument.documents.clear()
    instrument.RE(dual_burst(instrument.dual, instrument.shutter, calibration_uid=calibrated))
    (start,) = instrument.named("start")
    record = CalibrationRecord.load(CalibrationRecord.file(instrument.dual.folder, calibrated))
    assert start["calibration_uid"] == calibrated
    assert (start["dark_uid"], start["flat_uid"]) == (record.uid_of("dark"), record.uid_of("flat"))


def test_cameras_that_have_not_moved_pass_the_check(
    instrument: Instrument, calibrated: str
) -> None:
    from xfusion_bluesky.plans import check_registration

    instrument.documents.clear()
    drift = instrument.RE(
        check_registration(instrument.dual, instrument.shutter, calibrated)
    ).plan_result
    assert not drift.flagged
    assert np.hypot(*drift.shift_px) < 0.2
    (start,) = instrument.named("start")
    assert start["purpose"] == "registration"
    assert instrument.named("event")[-1]["data"]["drift_row_px"] == drift.shift_px[0]


def test_cameras_that_have_moved_are_flagged(instrument: Instrument, calibrated: str) -> None:
    from xfusion_bluesky.plans import check_registration
    from xfusion_bluesky.plans.calibrated import find_corrections, keep_corrections

    corrections = find_corrections(instrument.dual, calibrated)
    record = corrections.calibration
    assert record is not None
    (row, column) = record.spatial.lr_to_hr
    moved = ((row[0], row[1], row[2] + 1.0), column)
    spatial = record.spatial.model_copy(update={"lr_to_hr": moved})
    wrong = record.model_copy(update={"spatial": spatial})
    wrong.save(CalibrationRecord.file(instrument.dual.folder, "moved"))
    keep_corrections(
        instrument.dual.folder,
        type(corrections)(corrections.dark, corrections.flat, "moved", wrong),
    )
    drift = instrument.RE(
        check_registration(instrument.dual, instrument.shutter, "moved")
    ).plan_result
    assert drift.flagged
    assert abs(np.hypot(*drift.shift_px) - 1.0) < 0.3


def test_a_run_is_not_called_calibrated_by_what_is_no_calibration(
    instrument: Instrument, calibrated: str
) -> None:
    from xfusion_bluesky.plans import dual_burst

    shots = instrument.shots()
    for uid in ("nobody", "../../etc/passwd"):
        with pytest.raises(CalibrationError, match="calibrat"):
            instrument.RE(dual_burst(instrument.dual, instrument.shutter, calibration_uid=uid))
    instrument.put("PHANTOM:CAM:SizeY", 80)
    try:
        await_true(lambda: instrument.dual.phantom.rows.get() == 80, "the region is smaller")
        with pytest.raises(CalibrationMismatch, match="HR frames are 80 x 400"):
            instrument.RE(
                dual_burst(instrument.dual, instrument.shutter, calibration_uid=calibrated)
            )
    finally:
        instrument.put("PHANTOM:CAM:SizeY", 120)
        await_true(lambda: instrument.dual.phantom.rows.get() == 120, "the region is whole again")
    assert instrument.shots() == shots


def test_a_scan_without_a_mesh_is_refused_and_its_bursts_are_kept(instrument: Instrument) -> None:
    from xfusion_bluesky.plans import calibrate

    with pytest.raises(CalibrationError, match="mesh"):
        instrument.RE(
            calibrate(
                instrument.dual,
                instrument.shutter,
                instrument.sample,
                instrument.mesh,
                positions_mm=[(14.0, 0.0)],
                angles_deg=[0.0],
                reference_bursts=1,
                hr_last=3,
            )
        )
    assert [start["purpose"] for start in instrument.named("start")] == [
        "dark",
        "flat",
        "calibration-grid",
    ]
    assert not (instrument.dual.folder / "calibration").exists()
    assert abs(instrument.mesh.x.position - 15) < 0.01
    assert instrument.is_safe()


def test_a_scan_that_is_aborted_puts_everything_back(instrument: Instrument) -> None:
    from bluesky.utils import RunEngineInterrupted

    from xfusion_bluesky.plans import grid_calibration_scan

    def abort_in_second_view() -> None:
        await_true(lambda: len(instrument.named("event")) == 1, "the first view is taken")
        instrument.RE.request_pause(defer=False)

    plan = grid_calibration_scan(
        instrument.dual, instrument.shutter, instrument.sample, instrument.mesh
    )
    with meanwhile(abort_in_second_view), pytest.raises(RunEngineInterrupted):
        instrument.RE(plan)
    instrument.RE.abort()
    assert instrument.exit_statuses() == ["abort"]
    assert abs(instrument.mesh.x.position - 15) < 0.01
    assert abs(instrument.mesh.rotation.position) < 0.01
    assert abs(instrument.sample.position) < 0.01
    assert instrument.is_safe()
