"""`xfusion-bluesky calibrate DIR` on mesh images in XFusion's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, refused, type_command
from xfusion_simulators.mesh import Mesh
from xfusion_simulators.optics import CameraOptics, true_lr_to_hr

from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.calibration.spatial import SpatialEvidence
from xfusion_bluesky.formats.xfusion_calibration import read_results, read_transform, to_lr_to_hr
from xfusion_bluesky.formats.xfusion_case_writer import write_case

SCENE, LR, HR = (260, 380), (56, 84), (230, 340)
LR_OPTICS = CameraOptics.of(LR, SCENE, pixel_side=4, rotation_deg=1.2, anisotropy=0.01)
HR_OPTICS = CameraOptics.of(HR, SCENE, mirrored=True, shift_px=(2.3, -3.1))


def frames(optics: CameraOptics, shape: tuple[int, int], light: np.ndarray) -> list[np.ndarray]:
    image, rng = optics.image(light, shape), np.random.default_rng(shape)
    noisy = (image + rng.normal(0, 0.02, image.shape) for _ in range(4))
    return [np.rint(40_000 * np.clip(each, 0, 1.5)).astype(np.uint16) for each in noisy]


def write_view(folder: Path, position_um: tuple[float, float], rotation_deg: float) -> None:
    # Without a broken cell nothing but the rotation can tell one cell from the next; about a hole
    # it could not tell quarter turns.
    mesh = Mesh(broken_share=0.0, filled_share=0.0)
    light = mesh.light(SCENE, 2.0, position_um, rotation_deg)
    write_case(
        folder,
        frames(LR_OPTICS, LR, light),
        frames(HR_OPTICS, HR, light),
        lr_time_ns=[0.0, 1e3, 2e3, 3e3],
        hr_time_ns=[0.0, 1e4, 2e4, 3e4],
        hr_event_flag=[True] * 4,
    )


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("calibrator") / "mesh of today"
    write_view(root / "001_upright", (13.0, -9.0), 2.0)
    write_view(root / "002_turned", (31.0, 11.0), 14.0)
    return root


def calibrate(folder: Path, *options: str) -> Ended:
    return type_command("calibrate", str(folder), *options)


def furthest_px(lr_to_hr: np.ndarray) -> float:
    """Largest error of a map over the LR frame, HR px."""
    grid = np.stack(np.meshgrid(*(np.arange(0, n, 7.0) for n in LR), indexing="ij"), axis=-1)
    found = grid @ lr_to_hr[:, :2].T + lr_to_hr[:, 2]
    return float(np.abs(found - true_lr_to_hr(LR_OPTICS, HR_OPTICS)(grid)).max())


def test_two_views_give_a_record_and_files_for_xfusion(views: Path, tmp_path: Path) -> None:
    ended = calibrate(views, "--out", str(tmp_path))
    assert (ended.code, ended.err) == (0, "")
    folder = tmp_path / "mesh of today"
    record = CalibrationRecord.load(folder / "mesh of today.json")
    assert furthest_px(record.spatial.affine) < 0.1
    assert record.spatial.mirrored
    assert record.spatial.lattice.method == "rotation"
    assert record.spatial.lattice.margin >= 1
    assert [each.folder for each in record.inputs] == ["001_upright", "002_turned"]
    assert all(len(each.sha256) == 2 for each in record.inputs)
    evidence = SpatialEvidence.load(folder / "mesh of today.spatial.npz")
    assert len(evidence.nodes_lr_px) >= record.spatial.residuals.nodes

    transform = read_transform(
        folder / "tfm_mesh of today.npy", folder / "scale_factor_mesh of today_corrected.npy"
    )
    # The anisotropy is in the two scales, what is left of it is shear.
    assert furthest_px(to_lr_to_hr(transform, LR, HR)) < 0.3
    results = read_results(folder / "calibration_results_mesh of today.txt")
    assert int(results["num_pairs"]) == record.spatial.residuals.nodes
    assert "rotation" in ended.out
    refused(calibrate(views, "--out", str(tmp_path)), "exists already")


def test_one_view_proves_nothing_unless_the_centre_is_trusted(views: Path, tmp_path: Path) -> None:
    one, out = views / "001_upright", ("--out", str(tmp_path))
    refused(calibrate(one, *out), "rotate the mesh")
    assert not list(tmp_path.iterdir())
    ended = calibrate(one, *out, "--trust-centre")
    assert (ended.code, ended.err) == (0, "")
    assert "was not proven" in ended.out
    record = CalibrationRecord.load(tmp_path / one.name / f"{one.name}.json")
    assert furthest_px(record.spatial.affine) < 0.15
    assert (record.spatial.lattice.method, record.spatial.lattice.margin) == ("assumed-centre", 0)
    assert "not proven" in record.remarks[0]


def test_what_is_no_calibrator_folder_is_refused(tmp_path: Path, views: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    refused(calibrate(tmp_path, *out), "holds no case")
    one = str(views / "001_upright")
    refused(calibrate(Path(one), "--flat", one, *out), "no case but the flat")
    assert not (tmp_path / "out").exists()
