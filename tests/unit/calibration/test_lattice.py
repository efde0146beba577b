"""Nodes of the mesh: where they are, and when there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mesh_views import TwoCameras

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lattice import find_lattice

ANGLE_DEG = 12.0
POSITION_UM = (7.0, -11.0)


@pytest.fixture(scope="module")
def cameras():
    cameras = TwoCameras.random(1)
    return replace(cameras, mesh=replace(cameras.mesh, broken_share=0.0, filled_share=0.0))


@pytest.fixture(scope="module")
def view(cameras):
    return cameras.view(ANGLE_DEG, POSITION_UM)


def true_index(cameras, optics, position_px):
    """Where positions are on the mesh, in cells from its origin; whole at holes."""
    scene = optics.scene_position(position_px) - (np.array(cameras.scene_shape) - 1) / 2
    turn = np.deg2rad(ANGLE_DEG)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (scene * cameras.pixel_um - POSITION_UM) @ rotation / cameras.mesh.pitch_um


def spoiled(image, how):
    rng = np.random.default_rng(2)
    image = image.copy()
    half = image.shape[1] // 2
    if how == "half masked":
        image[:, half:] = np.nan
    elif how == "half dark":
        image[:, half:] = 0.03 * rng.standard_normal(image[:, half:].shape)
    elif how == "bad pixels":
        image[rng.random(image.shape) < 0.05] = np.nan
        image[rng.random(image.shape) < 0.002] = 50
    elif how == "vignetted":
        image *= np.linspace(0.3, 1, image.shape[1], dtype=np.float32)
    return image


@pytest.mark.parametrize("how", ["as it is", "half masked", "half dark", "bad pixels", "vignetted"])
def test_nodes_are_the_holes_of_the_mesh(cameras, view, how):
    cells = {}
    for camera, image, optics in (("LR", view.lr, cameras.lr), ("HR", view.hr, cameras.hr)):
        lattice = find_lattice(spoiled(image, how), name=camera)
        found = true_index(cameras, optics, lattice.position_px)
        away = found - np.round(found)
        cells[camera] = len(found)

        assert np.sqrt(np.square(away).mean()) < 0.012  # 0.07 LR px, 0.3 HR px
        assert np.abs(away.mean(axis=0)).max() < 0.005
        # Neighbours in the index are neighbours on the mesh.
        whole = np.round(found - found[0])
        assert np.unique(lattice.index - lattice.index[0], axis=0).shape == whole.shape
        assert np.allclose(
            np.abs(np.diff(lattice.index, axis=0)).sum(axis=1),
            np.abs(np.diff(whole, axis=0)).sum(axis=1),
        )
    whole_frame = how not in ("half masked", "half dark")
    assert cells["LR"] >= (60 if whole_frame else 25)
    assert cells["HR"] >= (90 if whole_frame else 40)


def blurred(cameras, sigma_px):
    soft = replace(
        cameras,
        lr=replace(cameras.lr, psf_sigma_px=sigma_px),
        hr=replace(cameras.hr, psf_sigma_px=sigma_px),
        noise=0.003,
    )
    return soft.view(ANGLE_DEG).hr


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (lambda cameras: cameras.images(cameras.dust)[1], "no mesh is in view"),
        (lambda cameras: blurred(cameras, 9.5), "out of focus"),
        (lambda cameras: np.full((160, 448), np.nan, np.float32), "every pixel is masked"),
        (lambda cameras: np.ones((160, 448), np.float32), "all pixels have the value 1"),
        (lambda cameras: np.ones((12, 448), np.float32), "12, 448"),
        (lambda cameras: mostly_masked(cameras.view(ANGLE_DEG).hr), "10% of it is lit"),
        (lambda cameras: stripes((160, 448)), "no mesh is in view"),
    ],
    ids=["no mesh", "out of focus", "masked", "constant", "small", "dark", "stripes"],
)
def test_what_shows_no_mesh_is_refused(cameras, image, says):
    with pytest.raises(CalibrationError, match=says) as refusal:
        find_lattice(image(cameras), name="HR camera, view 3")

    assert "HR camera, view 3" in str(refusal.value)
    assert "changed" in str(refusal.value)


def mostly_masked(image):
    image[:, 45:] = np.nan
    return image


def stripes(shape):
    rows = np.arange(shape[0], dtype=np.float32)[:, None] + np.zeros(shape, np.float32)
    return 1 + 0.3 * np.sin(rows / 4).astype(np.float32)


def test_a_mesh_of_another_pitch_than_expected_is_refused(view):
    with pytest.raises(CalibrationError, match=r"every 24\.\d\d pixels, 40\.00 were expected"):
        find_lattice(view.hr, pitch_hint_px=40.0)

    assert find_lattice(view.hr, pitch_hint_px=24.0).pitch_px == pytest.approx(24.4, abs=0.3)
