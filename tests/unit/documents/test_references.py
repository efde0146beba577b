from pathlib import Path

import h5py
import numpy as np
import pytest

from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.documents.references import ReferenceFrames
from xfusion_bluesky.documents.sequence import burst_sequence, truth_of


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


def burst(folder, name, *levels, valid=None):
    phantom = camera_burst(folder / f"{name}_p.h5", flat_frames((16, 16), *levels))
    shimadzu = camera_burst(folder / f"{name}_s.h5", flat_frames((4, 4), *levels), 6, valid)
    return Burst({"uid": name}, 1, phantom, shimadzu)


def test_transmission_is_one_in_the_flat_and_dead_pixels_are_masked(tmp_path):
    dark = flat_frames((4, 4), 10, 10)
    flat = flat_frames((4, 4), 110, 110)
    flat[:, 0, 0] = 10
    references = ReferenceFrames.of(
        camera_burst(tmp_path / "d.h5", dark), camera_burst(tmp_path / "f.h5", flat)
    )
    seen = references.transmission(np.full((4, 4), 60))
    assert seen.dtype == np.float32
    assert np.isnan(seen[0, 0])
    np.testing.assert_allclose(seen[1:], 0.5)


def test_the_sequence_is_corrected_and_skips_the_first_shimadzu_reference(tmp_path):
    dark, flat = burst(tmp_path, "d", 900, 10, 10), burst(tmp_path, "f", 5, 110, 110)
    sample = burst(tmp_path, "s", 60, 35)
    with burst_sequence(sample, dark, flat) as sequence:
        np.testing.assert_allclose(sequence.lr(0), 0.5)
        np.testing.assert_allclose(sequence.lr(1), 0.25)
        assert sequence.noise.is_noise_free
    with burst_sequence(sample, None, flat) as sequence:
        np.testing.assert_array_equal(sequence.lr(0), 60)


def test_a_padded_frame_gets_a_time_and_no_pixels(tmp_path):
    sample = burst(tmp_path, "s", 60, 0, 35, valid=[True, False, True])
    times = (0.0, 0.0, 2000.0)
    shimadzu = CameraBurst(**{**vars(sample.shimadzu), "frame_time_ns": times})
    with burst_sequence(Burst({}, 1, sample.phantom, shimadzu), None, None) as sequence:
        assert list(sequence.lr_time_ns) == [0.0, 1000.0, 2000.0]
        assert not sequence.lr_mask(1).any()


@pytest.mark.parametrize("name", ["s.truth.h5", "../s.truth.h5", "/s.truth.h5", "gone.h5"])
def test_truth_is_taken_from_the_same_folder_only(tmp_path, name):
    folder = tmp_path / "raw"
    folder.mkdir()
    sample = burst(folder, "s", 60, 35)
    for place in (tmp_path, folder):
        with h5py.File(place / "s.truth.h5", "w") as file:
            file["/truth/frames"] = np.full((2, 16, 16), 50, "u1")
            file["/truth/frames"].attrs["scale"] = 100.0
    with h5py.File(sample.shimadzu.file, "a") as file:
        file.attrs["truth_file"] = name
    truth = truth_of(sample)
    if name == "s.truth.h5":
        assert truth is not None
        np.testing.assert_array_equal(truth.frame(1), np.full((16, 16), 0.5, "f4"))
    else:
        assert truth is None
