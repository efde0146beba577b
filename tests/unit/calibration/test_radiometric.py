"""What references of a simulated sensor say about it, and what they refuse to say."""

import json
import math

import numpy as np
import pytest
from synthetic_camera import SyntheticCamera
from xfusion_simulators.detector import Detector

from xfusion_bluesky.calibration.camera_references import CameraReferences
from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.gain_offset import gain_offset
from xfusion_bluesky.calibration.linearity import linearity
from xfusion_bluesky.calibration.photon_transfer import LightLevel, photon_transfer
from xfusion_bluesky.calibration.radiometric import (
    Exposure,
    calibrate_radiometric,
    camera_radiometry,
    radiometric_calibration,
    radiometric_remarks,
)
from xfusion_bluesky.calibration.record import RadiometricCalibration

LR = SyntheticCamera(
    Detector(
        blank_photons=1e4,
        read_noise=2 / 800,
        gain_pattern=0.02,
        offset_pattern=0.005,
        cell_gain_pattern=0.02,
        cell_offset_pattern=0.01,
        seed=3,
    ),
    shape=(40, 80),
    blank_counts=800,
    flicker=0.01,
)
HR = SyntheticCamera(
    Detector(blank_photons=2e4, read_noise=8 / 3000, gain_pattern=0.01, seed=4),
    shape=(80, 120),
    frames=16,
    dark_counts=64,
    blank_counts=3000,
    full_counts=4095,
    flicker=0.01,
)


def references(camera, bursts=2, **options):
    dark, flat = camera.bursts(0, bursts, seed=1), camera.bursts(1, bursts, seed=2)
    return CameraReferences.from_frames(dark, flat, **options)


@pytest.fixture(scope="module")
def lr():
    return references(LR, 4, cells=True)


@pytest.fixture(scope="module")
def hr():
    return references(HR)


def test_gain_read_noise_pattern_and_flicker_are_those_of_the_camera(lr, hr):
    found = camera_radiometry(lr, "LR")
    assert found.counts_per_photon == pytest.approx(800 / 1e4, rel=0.03)
    assert found.read_noise_counts == pytest.approx(math.hypot(2, 12**-0.5), rel=0.1)
    assert found.cell_pattern == pytest.approx(0.023, rel=0.15)
    assert found.flicker == pytest.approx(0.01, rel=0.15)
    found = camera_radiometry(hr, "HR")
    assert found.counts_per_photon == pytest.approx(3000 / 2e4, rel=0.03)
    assert found.read_noise_counts == pytest.approx(8, rel=0.1)
    assert (found.cell_pattern, found.bad_pixels, found.saturation_counts) == (0, 0, None)


def test_errors_of_the_photon_transfer_curve_hold(hr):
    curve = hr.photon_transfer()
    assert abs(curve.counts_per_photon - 0.15) < 4 * curve.counts_per_photon_sigma < 0.01
    assert abs(curve.read_noise_counts - 8) < 4 * curve.read_noise_sigma + 0.01


def test_one_burst_tells_the_cells_gain_from_photon_noise_by_the_uneven_beam():
    curve = references(LR, 1, cells=True).photon_transfer(corrected=False)
    assert abs(curve.counts_per_photon - 0.08) < 3 * curve.counts_per_photon_sigma
    assert curve.cell_pattern == pytest.approx(0.02, rel=0.2)


def test_a_full_well_shows_in_the_photon_transfer_curve():
    signal = np.linspace(0, 4000, 120 * 160, dtype="f4").reshape(120, 160)
    variance = (25 + 0.2 * signal * np.clip((3600 - signal) / 400, 0, 1)).astype("f4")
    usable = np.ones(signal.shape, bool)
    dark = LightLevel(0 * signal, 0 * signal + 25, 20)
    curve = photon_transfer([dark, LightLevel(signal, variance, 20)], usable)
    assert curve.saturation_counts == pytest.approx(3350, abs=170)
    assert curve.counts_per_photon == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    ("pattern", "bursts"), [(0.0, 1), (0.0, 3), (0.002, 2), (0.02, 1), (0.02, 2), (0.05, 3)]
)
def test_correcting_storage_cells_never_adds_noise(pattern, bursts):
    sensor = Detector(
        1e4, 0.002, cell_gain_pattern=pattern, cell_offset_pattern=pattern / 2, seed=7
    )
    camera = SyntheticCamera(sensor, shape=(30, 50), blank_counts=800)
    known = references(camera, bursts, cells=True)
    sample = camera.burst(0.6, seed=99)

    def error(with_cells):
        seen = [known.transmission(f, k if with_cells else None) for k, f in enumerate(sample)]
        return math.sqrt(np.nanmean(np.square(np.array(seen) - 0.6)))

    corrected, plain = error(True), error(False)
    assert corrected <= 1.0005 * plain
    if pattern >= 0.02 and bursts > 1:
        photons_alone = math.sqrt(0.6 / 1e4 / 0.85 + 0.002**2 / 0.85**2)
        assert corrected < 1.2 * photons_alone < 0.65 * plain
        assert math.sqrt(known.noise().variance(0.6)) == pytest.approx(corrected, rel=0.1)


def test_darks_that_rise_from_cell_to_cell_are_followed():
    camera = SyntheticCamera(Detector(1e4, 0.002, seed=1), shape=(30, 50), frames=64)
    rise = np.rint(np.linspace(0, 30, 64)).astype("u2")

    def leaking(light, seed):
        return [frame + rise[k] for k, frame in enumerate(camera.burst(light, seed))]

    darks, flats = [leaking(0, 1), leaking(0, 2)], [leaking(1, 3), leaking(1, 4)]
    known = CameraReferences.from_frames(darks, flats, cells=True)
    sample = leaking(0.1, 5)
    means = [np.nanmean(known.transmission(frame, k)) for k, frame in enumerate(sample)]
    assert np.ptp(means) < 0.004
    assert np.ptp([np.nanmean(known.transmission(frame)) for frame in sample]) > 0.03


def test_bad_pixels_are_found_and_good_ones_are_kept():
    sensor = Detector(1e4, 0.002, gain_pattern=0.02, hot_pixels=20, dead_pixels=20, seed=5)
    camera = SyntheticCamera(sensor, shape=(100, 160), frames=64, blank_counts=800)
    rng = np.random.default_rng(0)
    warm, noisy = rng.random((2, 100, 160)) < 0.002
    dark, flat = camera.bursts(0, 1, seed=1), camera.bursts(1, 1, seed=2)
    for frame in (*dark[0], *flat[0]):
        frame[warm] += 100
        frame[noisy] += rng.integers(0, 100, noisy.sum()).astype("u2")
    bad = CameraReferences.from_frames(dark, flat).bad
    stuck = sensor.stuck_pixels((100, 160))
    truth = (stuck != 0) | warm | noisy
    assert (bad.mask & truth).sum() >= 0.95 * truth.sum()
    assert (bad.mask & ~truth).mean() < 0.001
    assert bad.dead[stuck < 0].all()
    assert bad.saturated[stuck > 0].all()


def test_saturated_pixels_have_no_value(lr):
    frame = LR.burst(0.5, seed=1)[5]
    frame[3, 4] = 1023
    seen, usable = lr.transmission(frame, 5), lr.usable(frame, 5)
    assert np.isnan(seen[3, 4])
    assert not usable[3, 4]
    np.testing.assert_array_equal(usable, np.isfinite(seen))
    assert usable.sum() >= usable.size - 3
    strict = references(HR, 1, saturation_counts=2000)
    with pytest.raises(CalibrationError, match="end of the scale: expose shorter"):
        camera_radiometry(strict, "HR")


def test_gain_between_the_cameras_with_its_error():
    rng = np.random.default_rng(1)
    hx = rng.uniform(0.2, 1, (4, 50, 80)).astype("f4")
    y = (1.05 * hx - 0.02 + rng.normal(0, 0.01, hx.shape)).astype("f4")
    y[:, :5] = np.nan
    y[0, 20:22] = 3
    found = gain_offset(list(zip(hx, y, strict=True)))
    assert abs(found.gain - 1.05) < 4 * found.gain_sigma < 0.01
    assert abs(found.offset + 0.02) < 4 * found.offset_sigma < 0.01
    even = np.ones((50, 80), "f4")
    with pytest.raises(CalibrationError, match="even field"):
        gain_offset([(even, even)])
    with pytest.raises(CalibrationError, match="have the shapes"):
        gain_offset([(even, even[:5])])


def test_linearity_is_the_largest_distance_from_a_line():
    found = linearity([(100, 101), (200, 201), (300, 301), (400, 401)])
    assert (found.slope, found.intercept) == (pytest.approx(1), pytest.approx(1))
    assert found.error == pytest.approx(0, abs=1e-9)
    assert linearity([(100, 100), (200, 200), (300, 270)]).error > 0.02
    with pytest.raises(CalibrationError, match="No linearity of the HR"):
        linearity([(100, 100), (100, 100), (200, 200)], "HR")


def test_the_calibration_goes_into_a_record_and_says_what_it_lacks(lr, hr):
    exposures = [
        Exposure(100.0 * step, [HR.burst(0.25 * step, seed=step)]) for step in (1, 2, 3, 4)
    ]
    found = radiometric_calibration(lr, hr, hr_exposures=exposures)
    assert RadiometricCalibration.model_validate_json(json.dumps(found.model_dump())) == found
    assert found.hr.linearity_error < 0.01
    assert (found.gain, found.offset) == (1, 0)
    assert found.noise == lr.noise()
    said = " ".join(radiometric_remarks(lr, found))
    assert "taken for granted" in said
    assert "Linearity" in said
    assert "storage cells" not in said


FLAT = [np.full((6, 8), 500, "u2")] * 3
DARK = [np.full((6, 8), 40, "u2")] * 3


@pytest.mark.parametrize(
    ("dark", "flat", "says"),
    [
        ([[None, None]], [FLAT], "LR dark has no valid frame"),
        ([], [FLAT], "LR dark has no valid frame"),
        ([DARK], [DARK], "no brighter than the dark"),
        ([DARK], [[*FLAT, FLAT[0][:5]]], "LR flat, burst 1, frame 3: the frame has 5 x 8 pixels"),
        ([DARK], [FLAT, [np.full((6, 8), np.nan)]], "LR flat, burst 2, frame 0.*not finite"),
        ([[np.zeros(7)]], [FLAT], "LR dark, burst 1, frame 0.*no image of counts"),
        ([DARK], [[*FLAT, DARK[0] + 9]], "LR flat changes its light: in burst 1, frame 3"),
        ([DARK], [[np.full((6, 8), 1023, "u2")] * 3], "expose shorter"),
        ([DARK[:1]], [FLAT[:1]], "No photon transfer curve of LR"),
    ],
)
def test_references_of_no_use_are_refused(dark, flat, says):
    with pytest.raises(CalibrationError, match=says):
        calibrate_radiometric(dark, flat, [DARK], [FLAT], lr_cells=False)


def test_a_camera_without_noise_has_a_noise_free_model():
    assert CameraReferences.from_frames([DARK], [FLAT]).noise().is_noise_free
    assert CameraReferences.from_frames([DARK[:1]], [FLAT[:1]]).noise().is_noise_free
