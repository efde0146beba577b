"""From views of the mesh to the map: proven shift, accuracy, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mesh_views import TwoCameras
from scipy import ndimage

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.spatial import MeshView, SpatialEvidence, calibrate_spatial


def map_error_px(calibration, cameras):
    """Rms distance to the true map over the common field, HR px."""
    lr = cameras.common_field()
    pixel_map = calibration.pixel_map()
    found = pixel_map.hr_position(4 * (lr - pixel_map.lr_origin) + 1.5)
    return float(np.sqrt(np.square(found - cameras.true_hr(lr)).sum(axis=1).mean()))


@pytest.fixture(scope="module")
def cameras():
    """LR 30 x 100 with 6.2 px a cell, mirrored, 2 % noise."""
    return TwoCameras.random(0, mirrored=True)


@pytest.fixture(scope="module")
def view(cameras):
    return cameras.view(8.0)


@pytest.fixture(scope="module")
def turned(cameras):
    return [cameras.view(angle) for angle in (-4.0, 8.5, -16.0)]


@pytest.fixture(scope="module")
def flats(cameras):
    return cameras.flats()


def test_one_view_and_flats_give_the_map(cameras, view, flats, tmp_path):
    lr_flat, hr_flat = flats

    found, evidence = calibrate_spatial([view], lr_flat=lr_flat, hr_flat=hr_flat, pitch_um=62.0)

    assert map_error_px(found, cameras) < 0.1
    assert (found.mirrored, found.model) == (True, "affine")
    assert (found.lattice.method, found.lattice.margin >= 1) == ("features", True)
    assert found.hr_pixel_um == pytest.approx(2.5, rel=0.03)
    assert found.lr_pixel_um == pytest.approx(10.0, rel=0.03)
    assert found.residuals.nodes >= 55
    # Both blurs are known: 1.0 and 0.6 scene pixels; the HR one is in its images already.
    assert found.point_spread is not None
    assert found.point_spread.sigma_px == pytest.approx(0.8, abs=0.1)
    file = tmp_path / "evidence.npz"
    evidence.save(file)
    again = SpatialEvidence.load(file)
    assert np.array_equal(again.residual_px, evidence.residual_px)
    assert np.nanargmax(again.lattice_scores) == again.lattice_scores.size // 2
    file.write_bytes(b"no zip")
    with pytest.raises(CalibrationError, match=r"evidence\.npz, cannot be read"):
        SpatialEvidence.load(file)


def test_turning_the_mesh_proves_the_shift_and_moving_it_does_not(cameras, turned):
    found, _ = calibrate_spatial(turned)

    assert found.lattice.method == "rotation"
    assert map_error_px(found, cameras) < 0.06
    assert found.residuals.views == 3
    plain = replace(cameras, mesh=replace(cameras.mesh, broken_share=0.0, filled_share=0.0))
    with pytest.raises(CalibrationError, match=r"too close.*Take flat fields.*rotate the mesh"):
        calibrate_spatial([plain.view(5.0) for _ in range(3)])


def test_slits_prove_the_shift(cameras, view):
    found, _ = calibrate_spatial([view], slits=cameras.slits(180.0, 520.0))

    assert found.lattice.method == "slits"
    assert map_error_px(found, cameras) < 0.1
    with pytest.raises(CalibrationError, match="slit edges in LR camera"):
        calibrate_spatial([view], slits=cameras.slits(5000.0, 520.0))


def test_broken_cells_prove_the_shift_of_a_large_field():
    cameras = TwoCameras.random(
        5, lr_shape=(80, 120), hr_shape=(300, 460), mirrored=False, specks=0
    )
    cameras = replace(cameras, mesh=replace(cameras.mesh, broken_share=0.04, filled_share=0.03))

    found, _ = calibrate_spatial([cameras.view(20.0)])

    assert found.lattice.method == "mesh-defects"
    assert map_error_px(found, cameras) < 0.1


def test_evidence_that_contradicts_itself_is_refused(cameras, turned, flats):
    lr_flat, hr_flat = flats
    elsewhere = ndimage.shift(hr_flat, (0, 24.6), order=1, mode="nearest")

    with pytest.raises(CalibrationError, match="contradict each other"):
        calibrate_spatial(turned, lr_flat=lr_flat, hr_flat=elsewhere)


def test_distortion_is_found_where_there_is_some():
    radial = 2e-7  # 1.1 px at the corner of 240 x 400 pixels
    cameras = TwoCameras.random(
        6, lr_shape=(60, 100), hr_shape=(240, 400), radial_per_px2=radial, noise=0.01
    )
    lr_flat, hr_flat = cameras.flats()

    found, _ = calibrate_spatial(
        [cameras.view(angle) for angle in (3.0, 33.0, 21.0)], lr_flat=lr_flat, hr_flat=hr_flat
    )

    assert found.model == "affine-radial"
    assert found.radial_per_px2 == pytest.approx(radial, rel=0.2)
    assert map_error_px(found, cameras) < 0.06


def test_a_view_without_mesh_is_left_out_but_not_most_of_them(cameras, turned):
    empty = MeshView(*cameras.images(cameras.dust), label="position 7")

    found, _ = calibrate_spatial([empty, *turned])

    assert found.residuals.views == 3
    with pytest.raises(CalibrationError, match="LR camera, position 7: no mesh is in view"):
        calibrate_spatial([empty, empty, turned[0]])


def test_images_that_do_not_belong_together_are_refused(view, flats):
    lr_flat, hr_flat = flats
    with pytest.raises(
        CalibrationError, match=r"view 2 of the HR camera has the shape \(160, 447\)"
    ):
        calibrate_spatial([view, MeshView(view.lr, view.hr[:, 1:])])
    with pytest.raises(CalibrationError, match=r"the flat field of the LR camera.*\(29, 100\)"):
        calibrate_spatial([view], lr_flat=lr_flat[1:], hr_flat=hr_flat)
    with pytest.raises(CalibrationError, match="no view"):
        calibrate_spatial([])
    with pytest.raises(CalibrationError, match=r"a ratio of 0\.26.* 2\.5 and 6\.5"):
        calibrate_spatial([MeshView(view.hr, view.lr)])
    with pytest.raises(CalibrationError, match=r"too close|nothing else is seen"):
        calibrate_spatial([view])


def test_broken_cells_that_agree_by_chance_prove_nothing():
    """Two angles leave a half turn open, and a few broken cells once seemed to settle it."""
    rng = np.random.default_rng([23, 7])
    noise = float(rng.choice([0.02, 0.08]))
    cameras = TwoCameras.random(1023, noise=noise, specks=int(rng.integers(15, 60)))
    turn = rng.uniform(-45, 45)
    views = [cameras.view(turn + angle) for angle in (0.0, 13.0)]

    with pytest.raises(CalibrationError, match="lattice shift"):
        calibrate_spatial(views)
