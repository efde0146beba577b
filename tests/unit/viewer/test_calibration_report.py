"""The report of a calibration: its numbers, and its picture read back from the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_records import record
from PIL import Image

from xfusion_bluesky.calibration.record import TemporalCalibration
from xfusion_bluesky.calibration.spatial import SpatialEvidence
from xfusion_bluesky.calibration.time_fit import TimeFit
from xfusion_bluesky.viewer.calibration_numbers import calibration_numbers, geometry
from xfusion_bluesky.viewer.calibration_panels import overlay
from xfusion_bluesky.viewer.calibration_report import save_report

LR_SHAPE, HR_SHAPE = (60, 80), (240, 320)
NOMINAL = np.array([[4.0, 0.0, 1.5], [0.0, 4.0, 1.5]])


def _map(rotation_deg, row_scale, column_scale, mirrored=False, shift_px=(9.0, -14.0)):
    angle = np.deg2rad(rotation_deg)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turned @ np.diag([row_scale, column_scale])
    if mirrored:
        linear = linear @ np.diag([1.0, -1.0])
    middle = (np.array(LR_SHAPE) - 1) / 2
    offset = (np.array(HR_SHAPE) - 1) / 2 + shift_px - linear @ middle
    return np.column_stack([linear, offset])


def _mesh(at):
    bars = np.maximum(np.cos(2 * np.pi * at[0] / 31), np.cos(2 * np.pi * at[1] / 31))
    return (1 - 0.2 / (1 + np.exp(-12 * (bars - 0.4)))).astype(np.float32)


def _views(lr_to_hr):
    lr_at = np.indices(LR_SHAPE, dtype=float)
    moved = np.tensordot(lr_to_hr[:, :2], lr_at, 1) + lr_to_hr[:, 2, None, None]
    return _mesh(moved), _mesh(np.indices(HR_SHAPE, dtype=float))


@pytest.fixture
def spatial():
    rng = np.random.default_rng(1)
    lr_to_hr = _map(2.0, 4.02, 4.0)
    lr_image, hr_image = _views(lr_to_hr)
    lr_image[:5, :5] = np.nan
    nodes = rng.uniform(0, 200, (60, 2))
    scores = np.exp(-np.add.outer(np.arange(-3, 4) ** 2, np.arange(-3, 4) ** 2) / 3.0)
    scores[0, 0] = np.nan
    return lr_to_hr, SpatialEvidence(
        nodes_lr_px=nodes / 4,
        nodes_hr_px=nodes,
        residual_px=rng.normal(0, 0.02, (60, 2)),
        view=np.zeros(60, int),
        inlier=np.arange(60) > 5,
        lattice_scores=scores.astype(np.float32),
        lr_image=lr_image,
        hr_image=hr_image,
        initial_lr_to_hr=NOMINAL,
    )


@pytest.fixture
def temporal():
    offsets_ns = np.linspace(-2e4, 2e4, 101)
    trace = np.random.default_rng(2).normal(0, 0.003, 40)
    return TimeFit(
        calibration=TemporalCalibration(
            offset_ns=350, offset_sigma_ns=20, method="trace", samples=40, ambiguity=3
        ),
        trial_offsets_ns=offsets_ns,
        cost=1 - np.exp(-(((offsets_ns - 350) / 900) ** 2)),
        hr_time_ns=np.arange(40.0),
        hr_trace=trace,
        fitted_trace=0.98 * trace,
    )


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation_deg", [-4.0, 0.0, 2.5])
def test_a_map_is_taken_apart_into_what_it_was_made_of(rotation_deg, mirrored):
    found = geometry(_map(rotation_deg, 4.04, 4.0, mirrored))
    assert found.rotation_deg == pytest.approx(rotation_deg, abs=1e-9)
    assert (found.row_scale, found.column_scale) == pytest.approx((4.04, 4.0))
    assert found.anisotropy == pytest.approx(0.01)
    assert found.skew_deg == pytest.approx(0, abs=1e-9)


def test_numbers_carry_their_errors_and_say_what_was_not_measured():
    numbers = calibration_numbers(record(LR_SHAPE, HR_SHAPE, offset_ns=-120.0, drift_ppm=3.0))
    assert ("offset", "-120.0 +- 10.0 ns") in numbers["when"]
    assert ("error, rms", "0.020 HR px (most 0.06)") in numbers["where"]
    assert numbers["how bright"] == [("brightness", "not measured")]
    assert len(calibration_numbers(record(LR_SHAPE, HR_SHAPE, gain=1.1))["how bright"]) == 9


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_overlay_is_grey_where_the_map_is_right(mirrored):
    right = _map(2.0, 4.02, 4.0, mirrored)
    lr_image, hr_image = _views(right)

    def coloured(lr_to_hr):
        pixels = np.asarray(overlay(lr_image, hr_image, lr_to_hr, (240, 160))).astype(float)
        return np.abs(pixels[..., 0] - pixels[..., 2]).mean()

    assert coloured(right) < 20 < coloured(NOMINAL)


def test_the_picture_shows_what_the_record_rests_on(tmp_path, spatial, temporal):
    lr_to_hr, evidence = spatial
    made = record(LR_SHAPE, HR_SHAPE, tuple(map(tuple, lr_to_hr)), offset_ns=350.0, gain=1.0)
    sizes = {}
    for name, parts in {"all": (evidence, temporal), "none": (None, None)}.items():
        file = tmp_path / name / "report.png"
        save_report(made, *parts, file)
        assert [each.name for each in file.parent.iterdir()] == ["report.png"]
        with Image.open(file) as picture:
            assert picture.width == 1800
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        sizes[name] = (np.ptp(pixels, axis=-1) > 60).sum()
    assert sizes["none"] < 0.1 * sizes["all"]
