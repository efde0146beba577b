from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
from calibration_records import record
from pydantic import TypeAdapter

from xfusion_bluesky.calibration.errors import CalibrationMismatch
from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.frame_times import targets_of
from xfusion_bluesky.documents.processed import BackendIdentity, reconstruction_key
from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.documents.sequence import burst_sequence, truth_of
from xfusion_bluesky.fusion.pixelmap import PixelMap

LR, HR = (4, 4), (16, 16)


def camera_burst(path, frames, shift=0, valid=None, interval_ns=1000.0):
    with h5py.File(path, "w") as file:
        file["/entry/data/data"] = (np.asarray(frames) << shift).astype("u2")
    n = len(frames)
    return CameraBurst(
        file=Path(path),
        dataset="/entry/data/data",
        shape=np.shape(frames),
        frame_time_ns=tuple(interval_ns * k for k in range(n)),
        valid=tuple(valid or [True] * n),
        event_flag=(1,) * n,
        sha256="",
        bit_shift=shift,
    )


def even_frames(shape, *levels):
    return np.stack([np.full(shape, level) for level in levels])


def burst(folder, name, *levels, valid=None, hr_levels=None, hr_interval_ns=1000.0):
    phantom = camera_burst(
        folder / f"{name}_p.h5",
        even_frames(HR, *(hr_levels or levels)),
        interval_ns=hr_interval_ns,
    )
    shimadzu = camera_burst(folder / f"{name}_s.h5", even_frames(LR, *levels), 6, valid)
    return Burst({"uid": name, "time": 1.7e9}, 1, phantom, shimadzu)


@pytest.fixture
def references(tmp_path):
    dark = burst(tmp_path, "d", 900, 10, 10, hr_levels=(10, 10))
    flat = burst(tmp_path, "f", 5, 110, 110, hr_levels=(110, 110))
    return Corrections((dark,), (flat,))


def test_the_sequence_is_corrected_and_skips_the_first_shimadzu_reference(tmp_path, references):
    sample = burst(tmp_path, "s", 60, 35)
    with burst_sequence(sample, references) as sequence:
        np.testing.assert_allclose(sequence.lr(0), 0.5)
        np.testing.assert_allclose(sequence.lr(1), 0.25)
        assert sequence.noise.is_noise_free
    with burst_sequence(sample, replace(references, dark=())) as sequence:
        np.testing.assert_array_equal(sequence.lr(0), 60)


def test_a_padded_frame_gets_a_time_and_no_pixels(tmp_path):
    sample = burst(tmp_path, "s", 60, 0, 35, valid=[True, False, True])
    shimadzu = replace(sample.shimadzu, frame_time_ns=(0.0, 0.0, 2000.0))
    with burst_sequence(replace(sample, shimadzu=shimadzu)) as sequence:
        assert list(sequence.lr_time_ns) == [0.0, 1000.0, 2000.0]
        assert not sequence.lr_mask(1).any()


def test_a_calibration_says_where_when_and_how_bright(tmp_path, references):
    sample = burst(tmp_path, "s", 60, 35)
    mirrored = ((4.0, 0.0, 1.5), (0.0, -4.0, 13.5))
    made = record(LR, HR, mirrored, offset_ns=250.0, drift_ppm=1e5, gain=1.25, offset=0.1)
    calibrated = replace(references, calibration_uid="c", calibration=made)
    with h5py.File(sample.phantom.file, "a") as file:
        file["/entry/data/data"][0] = 10 + np.arange(256).reshape(HR) % 16
    with burst_sequence(sample, calibrated) as sequence:
        assert list(sequence.lr_time_ns) == [250.0, 1350.0]
        assert list(sequence.hr_time_ns) == [0.0, 1000.0]
        np.testing.assert_allclose(sequence.lr(0), (0.5 - 0.1) / 1.25, rtol=1e-6)
        np.testing.assert_allclose(sequence.hr(0)[3], np.arange(15, -1, -1) / 100, atol=1e-6)
    # Counts have no common scale; times and places are those of the calibration nevertheless.
    with burst_sequence(sample, Corrections((), (), "c", made)) as sequence:
        np.testing.assert_array_equal(sequence.lr(0), 60)
        assert sequence.lr_time_ns[0] == 250.0


def test_noise_is_scaled_to_the_units_of_the_frames(tmp_path, references):
    sample, rng = burst(tmp_path, "s", 60, 35), np.random.default_rng(0)
    for each, level in ((references.dark[0], 20), (references.flat[0], 120)):
        with h5py.File(each.shimadzu.file, "a") as file:
            noisy = level + rng.integers(-9, 10, file["/entry/data/data"].shape)
            file["/entry/data/data"][...] = noisy.astype("u2") << 6
    made = record(LR, HR, gain=1.25, offset=0.1)
    with (
        burst_sequence(sample, references) as plain,
        burst_sequence(sample, replace(references, calibration_uid="c", calibration=made)) as seen,
    ):
        values = plain.lr(0)
        assert plain.noise.variance(values).min() > 0
        np.testing.assert_allclose(
            seen.noise.variance(seen.lr(0)), plain.noise.variance(values) / 1.25**2, rtol=1e-5
        )


def test_a_calibration_of_another_readout_region_is_refused(tmp_path):
    sample = burst(tmp_path, "s", 60, 35)
    other = Corrections((), (), "c", record((8, 8), (32, 32)))
    with pytest.raises(CalibrationMismatch, match="4 x 4"), burst_sequence(sample, other):
        pass


@pytest.mark.parametrize("name", ["s.truth.h5", "../s.truth.h5", "/s.truth.h5", "gone.h5"])
def test_truth_is_taken_from_the_same_folder_only(tmp_path, name):
    folder = tmp_path / "raw"
    folder.mkdir()
    sample = burst(folder, "s", 60, 35)
    for place in (tmp_path, folder):
        with h5py.File(place / "s.truth.h5", "w") as file:
            file["/truth/frames"] = np.stack(2 * [np.arange(256, dtype="u1").reshape(HR)])
            file["/truth/frames"].attrs["scale"] = 100.0
    with h5py.File(sample.shimadzu.file, "a") as file:
        file.attrs["truth_file"] = name
    truth = truth_of(sample, PixelMap(np.eye(2, 3), (1, 2), (3, 2)))
    if name == "s.truth.h5":
        assert truth is not None
        assert truth.frame(1).shape == (12, 8)
        assert truth.frame(1)[0, 0] == pytest.approx((4 * 16 + 8) / 100)
    else:
        assert truth is None


def test_what_a_reconstruction_is_corrected_with_is_part_of_its_key(tmp_path, references):
    sample = burst(tmp_path, "s", 60, 35)
    calibrated = replace(references, calibration_uid="c", calibration=record(LR, HR))
    backend = BackendIdentity("linear", "xfusion-motion", "1")
    keys = {
        reconstruction_key(sample, backend, {}, corrections, traversal)
        for corrections in (None, references, calibrated)
        for traversal in ("continuous", "double")
    }
    assert len(keys) == 6
    # Raw runs that name what was used have always had this key.
    named = {"uid": "s", "dark_uid": "d", "flat_uid": "f", "calibration_uid": None}
    assert (
        reconstruction_key(replace(sample, start=named), backend, {}, references)
        == "0d51e553-552c-5c67-9bbc-cb087e74957f"
    )
    adapter = TypeAdapter(Corrections)
    assert adapter.validate_json(adapter.dump_json(calibrated)) == calibrated


def test_targets_of_double_are_those_with_an_hr_frame_on_the_clock_of_the_calibration(tmp_path):
    sample = burst(tmp_path, "s", *range(20, 32), hr_levels=(1, 2, 3, 4, 5), hr_interval_ns=2600.0)
    assert targets_of(sample, None, "continuous") == tuple(range(12))
    assert targets_of(sample, None, "double") == (0, 3, 5, 8, 10)
    late = record(LR, HR, offset_ns=1000.0)
    assert targets_of(sample, late, "double") == (2, 4, 7, 9)


@pytest.mark.parametrize(
    ("hours", "flag", "words"),
    [
        (1, "", ""),
        (-1, "", ""),
        (30, "old-calibration", "before"),
        (-30, "old-calibration", "after"),
    ],
)
def test_an_old_calibration_is_flagged(tmp_path, hours, flag, words):
    sample = burst(tmp_path, "s", 60, 35)
    made = datetime.fromtimestamp(sample.start["time"], UTC) - timedelta(hours=hours)
    flags = Corrections((), (), "c", record(LR, HR, made_utc=made)).flags(sample)
    assert [each.name for each in flags] == ([flag] if flag else [])
    assert all(f"30.0 h {words} the burst" in each.reason for each in flags)


def test_a_named_calibration_that_is_not_used_is_flagged(tmp_path):
    sample = burst(tmp_path, "s", 60, 35)
    named = replace(sample, start={**sample.start, "calibration_uid": "gone"})
    (flag,) = Corrections().flags(named)
    assert flag.name == "calibration-missing"
    assert "gone" in flag.reason
    assert Corrections().flags(sample) == ()
