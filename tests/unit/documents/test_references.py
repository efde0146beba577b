from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic_camera import SyntheticCamera
from xfusion_simulators.detector import Detector

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.documents.raw import CameraBurst
from xfusion_bluesky.documents.references import ReferenceFrames


def camera_burst(path, frames, shift=0, valid=None):
    with h5py.File(path, "w") as file:
        file["/entry/data/data"] = (np.asarray(frames) << shift).astype("u2")
    n = len(frames)
    return CameraBurst(
        file=Path(path),
        dataset="/entry/data/data",
        shape=np.shape(frames),
        frame_time_ns=tuple(1000.0 * k for k in range(n)),
        valid=tuple(valid or [True] * n),
        event_flag=(1,) * n,
        sha256="",
        bit_shift=shift,
    )


def flat_frames(shape, *levels):
    return np.stack([np.full(shape, level) for level in levels])


def test_transmission_is_one_in_the_flat_and_dead_pixels_are_masked(tmp_path):
    dark = flat_frames((4, 4), 10, 10)
    flat = flat_frames((4, 4), 110, 110)
    flat[:, 0, 0] = 10
    references = ReferenceFrames.of(
        [camera_burst(tmp_path / "d.h5", dark)], [camera_burst(tmp_path / "f.h5", flat)]
    )
    seen = references.transmission(np.full((4, 4), 60), 0)
    assert seen.dtype == np.float32
    assert np.isnan(seen[0, 0])
    np.testing.assert_allclose(seen[1:], 0.5)


def written(folder, name, camera, light, count, shift=6):
    return [
        camera_burst(folder / f"{name}{b}.h5", np.array(frames), shift)
        for b, frames in enumerate(camera.bursts(light, count, seed=int(light * 10) + 1))
    ]


def test_one_burst_without_noise_gives_the_ratio_of_means(tmp_path):
    rng = np.random.default_rng(0)
    dark, flat = (
        rng.integers(30, 50, (2, 20, 30))[:, None] + np.array([0, 700])[:, None, None, None]
    )
    dark, flat = np.repeat(dark, 4, axis=0), np.repeat(flat, 4, axis=0)
    references = ReferenceFrames.of(
        [camera_burst(tmp_path / "d.h5", dark)], [camera_burst(tmp_path / "f.h5", flat)], skip=1
    )
    frame = rng.integers(40, 700, (20, 30)).astype("u2")
    expected = (frame - dark[0].astype("f4")) / (flat[0] - dark[0]).astype("f4")
    np.testing.assert_allclose(references.transmission(frame, 2), expected, rtol=1e-6, atol=1e-6)
    assert references.shape == (20, 30)
    assert references.noise().is_noise_free


def test_every_burst_of_the_references_counts_and_each_storage_cell_is_corrected(tmp_path):
    sensor = Detector(1e4, 0.002, cell_gain_pattern=0.03, cell_offset_pattern=0.01, seed=1)
    camera = SyntheticCamera(sensor, shape=(30, 40), frames=32, blank_counts=800)
    dark, flat = (written(tmp_path, name, camera, light, 4) for name, light in (("d", 0), ("f", 1)))
    sample = camera.burst(0.7, seed=77)

    def error(bursts, cells):
        known = ReferenceFrames.of(dark[:bursts], flat[:bursts], skip=1, cells=cells)
        seen = np.array([known.transmission(frame, k) for k, frame in enumerate(sample)])[1:]
        assert seen.dtype == np.float32
        return np.nanstd(seen - 0.7)

    assert error(4, cells=False) < error(1, cells=False)
    assert error(4, cells=True) < error(2, cells=True) < 0.6 * error(4, cells=False)


def test_frames_that_were_not_recorded_do_not_count(tmp_path):
    dark = camera_burst(tmp_path / "d.h5", flat_frames((4, 4), 900, 10, 10), 6)
    valid = [True, True, False, True]
    flat = camera_burst(tmp_path / "f.h5", flat_frames((4, 4), 5, 110, 0, 110), 6, valid)
    references = ReferenceFrames.of([dark], [flat], skip=1)
    np.testing.assert_allclose(references.transmission(np.full((4, 4), 60)), 0.5)


def damaged(folder, kind):
    flat = camera_burst(folder / "flat.h5", flat_frames((4, 4), 110, 110, 110))
    if kind == "missing":
        flat.file.unlink()
    elif kind == "truncated":
        flat.file.write_bytes(flat.file.read_bytes()[:1000])
    elif kind == "no frame":
        return replace(flat, valid=(False, False, False))
    elif kind == "other file":
        camera_burst(flat.file, flat_frames((4, 4), 110))
    elif kind == "other dataset":
        return replace(flat, dataset="/entry/nothing")
    else:
        return camera_burst(flat.file, flat_frames((5, 4), 110, 110, 110))
    return flat


@pytest.mark.parametrize(
    "kind", ["missing", "truncated", "no frame", "other file", "other dataset", "other shape"]
)
def test_references_that_cannot_be_used_are_named(tmp_path, kind):
    dark = camera_burst(tmp_path / "dark.h5", flat_frames((4, 4), 10, 10, 10))
    with pytest.raises(CalibrationError, match=r"flat\.h5"):
        ReferenceFrames.of([dark], [damaged(tmp_path, kind)])


def test_dark_taken_for_flat_is_refused(tmp_path):
    dark = camera_burst(tmp_path / "dark.h5", flat_frames((4, 4), 10, 10, 10))
    with pytest.raises(CalibrationError, match="was the shutter closed"):
        ReferenceFrames.of([dark], [dark])
