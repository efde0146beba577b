"""An experiment of the simulated cameras in XFusion's layout: calibrated, and fused, by command."""

from __future__ import annotations

import csv
import statistics
from contextlib import nullcontext
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from command_line import type_command
from xfusion_simulators.camera_pair import CameraPair
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.mesh import MeshPose
from xfusion_simulators.phantom_camera import PhantomSettings, Region
from xfusion_simulators.scene import Beam
from xfusion_simulators.shimadzu_camera import ShimadzuSettings

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.journal import read_journal
from xfusion_bluesky.documents.raw import bursts_of
from xfusion_bluesky.documents.sequence import burst_sequence
from xfusion_bluesky.formats.xfusion_case_writer import write_case
from xfusion_bluesky.processing.bursts import BurstFinder

FRAMES = 41
HR_PERIOD_NS = 10_000.0


def take(pair: CameraPair, beam: Beam, folder: Path) -> None:
    """Record one shot with both cameras and leave it as XFusion finds it."""
    rows, columns = pair.phantom.view.shape
    settings = ShimadzuSettings(frames=FRAMES)
    pair.shimadzu.record(0.0, settings, beam)
    window_ns = settings.window_ns(0.0)
    exposed = PhantomSettings(Region(0, 0, rows, columns), HR_PERIOD_NS, post_trigger_frames=6)
    pair.phantom.record(0.0, exposed, beam, window_ns)
    lr, hr = pair.shimadzu.memory, pair.phantom.memory
    if lr.burst is None or hr.burst is None:
        raise RuntimeError("nothing was recorded")
    write_case(
        folder,
        lr.read(0, FRAMES),
        hr.read(0, len(hr.burst.table)),
        lr_time_ns=np.rint(lr.burst.table.time_ns).tolist(),
        hr_time_ns=hr.burst.table.time_ns.tolist(),
        hr_event_flag=[bool(flag) for flag in hr.burst.table.event_flag],
    )


@pytest.fixture(scope="module")
def beamtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("beamtime")
    pair = CameraPair.of(BeamlineConfig.realistic(memory_folder=root / "memory"))
    mesh = Beam(sample_in=False, mesh=MeshPose(13.0, -9.0, 1.0))
    turned = Beam(sample_in=False, mesh=MeshPose(260.0, 511.0, 13.0))
    take(pair, mesh, root / "mesh" / "001")
    take(pair, turned, root / "mesh" / "002")
    take(pair, Beam(sample_in=False), root / "flat" / "001")
    take(pair, Beam(), root / "weld" / "001_wall")
    pair.scene.close()
    return root


@pytest.fixture(scope="module")
def calibration(beamtime: Path) -> Path:
    """File of the record that `calibrate` makes of the mesh images."""
    options = ("--flat", str(beamtime / "flat" / "001"), "--out", str(beamtime / "made"))
    ended = type_command("calibrate", str(beamtime / "mesh"), *options)
    assert ended.code == 0, ended
    return beamtime / "made" / "mesh" / "mesh.json"


def psnr_db(folder: Path, beamtime: Path, record: Path) -> float:
    ended = type_command(
        *("infer", "--actual", str(beamtime / "weld"), "--traverse", "double"),
        *("--backend", "linear-bp", "--calibration", str(record)),
        *("--output", str(folder)),
    )
    assert ended.code == 0, ended
    with (folder / "weld" / "001_wall" / "double" / "scores.csv").open(newline="") as file:
        return statistics.mean(float(row["psnr"]) for row in csv.DictReader(file))


def test_it_is_calibrated_and_fused_and_a_wrong_map_fuses_worse(
    beamtime: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = CalibrationRecord.load(calibration)
    assert record.spatial.mirrored

    row, column = record.spatial.lr_to_hr
    moved = (row, (column[0], column[1], column[2] + 1.0))
    spatial = record.spatial.model_copy(update={"lr_to_hr": moved})
    wrong = tmp_path / "wrong.json"
    record.model_copy(update={"spatial": spatial}).save(wrong)
    assert psnr_db(tmp_path / "a", beamtime, calibration) > psnr_db(tmp_path / "b", beamtime, wrong)


def test_it_comes_in_as_a_run_that_is_fused_with_the_calibration(
    beamtime: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = CalibrationRecord.load(calibration)
    configuration = Configuration().located(tmp_path)
    record.save(CalibrationRecord.file(configuration.folders.raw, "mesh"))
    ended = type_command("import-xfusion", str(beamtime / "weld"), "--calibration", "mesh")
    assert ended.code == 0, ended

    (journal,) = configuration.folders.journal.glob("*.jsonl")
    (burst,) = bursts_of(read_journal(journal))
    finder = BurstFinder(configuration.folders, nullcontext)
    corrections = finder.corrections(burst)
    assert corrections.calibration == record
    registry = Registry.from_entry_points(entry_points(group="xfusion_bluesky"))
    with burst_sequence(burst, corrections) as sequence:
        (fused,) = registry.create("linear-bp", {}).reconstruct(sequence, [FRAMES // 2])
        assert fused.image.shape == record.spatial.pixel_map().shape
        assert np.isfinite(fused.image).all()
