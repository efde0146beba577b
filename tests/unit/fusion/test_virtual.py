"""Virtual experiments: exact without noise, the noise that was asked for, and bad videos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfusion_bluesky.fusion.metrics import psnr
from xfusion_bluesky.fusion.normalisation import UNIT
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.virtual import VirtualSettings, VirtualVideo


def video(n=12, shape=(32, 40), seed=0):
    return np.random.default_rng(seed).integers(0, 4096, (n, *shape), dtype=np.uint16)


def test_without_noise_the_cameras_agree_exactly():
    experiment = VirtualVideo(video()).experiment(VirtualSettings(hr_interval=4))
    dual = experiment.sequence
    assert (dual.n_lr, dual.shape, dual.noise.is_noise_free) == (12, (32, 40), True)
    assert experiment.hr_frames.tolist() == [0, 4, 8, 11]
    assert np.flatnonzero(experiment.coincident).tolist() == [0, 4, 8, 11]
    for target in range(dual.n_lr):
        truth = experiment.truth(target)
        assert 0 <= truth.min() < truth.max() <= 1
        np.testing.assert_array_equal(dual.lr(target), block_mean(truth))
        assert dual.neighbours(target).before is not None
    np.testing.assert_array_equal(dual.hr(1), experiment.truth(4))


@settings(max_examples=40)
@given(
    st.integers(3, 30),
    st.one_of(st.none(), st.integers(2, 31)),
    st.integers(1, 3),
    st.booleans(),
)
def test_the_phases_of_a_separation_see_every_frame_once(n, interval, separation, keep_last):
    frames = np.random.default_rng(0).random((n, 4, 8))
    whole = VirtualVideo(frames, UNIT)
    if interval is not None and interval >= n:
        with pytest.raises(ValueError, match=f"every {interval} frames .* this one has {n}"):
            whole.experiment(VirtualSettings(hr_interval=interval))
        return
    seen = []
    for phase in range(separation):
        experiment = whole.experiment(
            VirtualSettings(interval, separation, phase, keep_last=keep_last)
        )
        seen += experiment.lr_frames.tolist()
        sequence = experiment.sequence
        if sequence.n_lr > 1:
            assert sequence.lr_interval_ns == pytest.approx(20_000 * separation)
        for target, frame in enumerate(experiment.lr_frames):
            near = sequence.neighbours(target)
            before = experiment.hr_frames[near.before]
            assert before <= frame
            assert experiment.coincident[target] == (frame in experiment.hr_frames)
            if near.after is not None:
                assert frame < experiment.hr_frames[near.after]
            elif keep_last or interval is None:
                assert frame == n - 1
    assert sorted(seen) == list(range(n))


@pytest.mark.parametrize("psnr_db", [20.0, 30.0, 50.0])
def test_the_noise_has_the_psnr_that_was_asked_for(psnr_db):
    whole = VirtualVideo(video(4, (400, 400)))
    experiment = whole.experiment(VirtualSettings(2, lr_psnr_db=psnr_db))
    clean, noisy = whole.lr[2], experiment.sequence.lr(2)
    mse = float(np.square(noisy - clean).mean())
    assert -10 * np.log10(mse) == pytest.approx(psnr_db, abs=0.2)
    assert experiment.blank_photons == pytest.approx(whole.mean * 10 ** (psnr_db / 10))
    assert experiment.sequence.noise.alpha == pytest.approx(1 / experiment.blank_photons)
    # Noise of a frame does not depend on which others the camera keeps.
    other = whole.experiment(VirtualSettings(3, 2, 0, lr_psnr_db=psnr_db))
    np.testing.assert_array_equal(other.sequence.lr(1), noisy)
    assert psnr(experiment.truth(1), whole.frame(1)) == np.inf


def test_pixels_and_frames_without_a_value_are_masked_in_both_cameras():
    frames = np.random.default_rng(1).random((6, 16, 20))
    frames[1, 5, 6] = np.nan
    frames[2, 0, 0] = np.inf
    frames[3] = np.nan
    experiment = VirtualVideo(frames).experiment(VirtualSettings(hr_interval=2, blank_photons=1e3))
    dual = experiment.sequence
    assert np.argwhere(~dual.lr_mask(1)).tolist() == [[1, 1]]
    assert np.argwhere(~dual.hr_mask(1)).tolist() == [[0, 0]]
    assert dual.lr_valid.tolist() == [True, True, True, False, True, True]
    assert np.isnan(experiment.truth(1)[5, 6])
    assert all(np.isfinite(dual.lr(i)).all() for i in (0, 1, 2, 4, 5))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3))
def test_a_hole_masks_its_pixel_in_one_camera_and_its_block_in_the_other(seed, share):
    rng = np.random.default_rng(seed)
    frames = rng.random((3, 12, 16))
    holes = rng.random((3, 12, 16)) < share
    frames[holes] = rng.choice([np.nan, np.inf, -np.inf])
    dual = VirtualVideo(frames, UNIT).experiment(VirtualSettings(2, blank_photons=50)).sequence
    blocks = holes.reshape(3, 3, 4, 4, 4).any(axis=(2, 4))
    for k in range(3):
        assert dual.lr_valid[k] == (not blocks[k].all())
        np.testing.assert_array_equal(dual.lr_mask(k), ~blocks[k])
        assert np.isfinite(dual.lr(k)).all() == bool(dual.lr_valid[k])
    for j, k in enumerate((0, 2)):
        if dual.hr_valid[j]:
            np.testing.assert_array_equal(dual.hr_mask(j), ~holes[k])
            assert np.isfinite(dual.hr(j)).all()


def test_videos_that_cannot_be_used_are_refused_by_frame():
    with pytest.raises(ValueError, match="at least 3 frames, got 2"):
        VirtualVideo(video(2))
    with pytest.raises(ValueError, match=r"frame 0 has shape \(3, 40\)"):
        VirtualVideo(np.zeros((5, 3, 40)))
    with pytest.raises(ValueError, match=r"frame 0 has shape \(8, 8, 3\)"):
        VirtualVideo(np.zeros((5, 8, 8, 3)))
    with pytest.raises(ValueError, match="constant"):
        VirtualVideo(np.zeros((5, 8, 8)))
    ragged = VirtualVideo([np.eye(8), np.eye(8), np.eye(12)], UNIT)
    with pytest.raises(ValueError, match=r"frame 2 of the video has shape \(12, 12\)"):
        ragged.experiment(VirtualSettings(2))
    assert VirtualVideo(video(3, (33, 42)), UNIT).frame(0).shape == (32, 40)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hr_interval": 1},
        {"lr_separation": 0},
        {"lr_separation": 2, "phase": 2},
        {"lr_psnr_db": 30.0, "blank_photons": 1e3},
        {"frame_interval_ns": 0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        VirtualSettings(**wrong)
    whole = VirtualVideo(video(3))
    with pytest.raises(ValueError, match="no LR frame is left"):
        whole.experiment(VirtualSettings(2, lr_separation=9, phase=8))
