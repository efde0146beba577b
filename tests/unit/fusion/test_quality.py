"""Quality without a truth: what it says of good and bad images, bursts and error bars."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from xfusion_bluesky.fusion.conformal import ConformalInterval, changed_region
from xfusion_bluesky.fusion.consistency import Consistency, detail_energy
from xfusion_bluesky.fusion.flags import Severity
from xfusion_bluesky.fusion.holdout import leave_one_out, scores
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic
from xfusion_bluesky.fusion.quality import SequenceQuality
from xfusion_bluesky.fusion.screening import screen
from xfusion_bluesky.fusion.sequence import DualSequence

PHOTONS = 2e3


def scene(n=25, shape=(64, 96), speed_px=1.0, seed=3):
    """A dark blob that moves over a resting texture, with a little camera noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    texture = 0.25 * ndimage.gaussian_filter(rng.standard_normal(shape), 1.2)
    frames = []
    for t in range(n):
        blob = (rows - shape[0] / 2) ** 2 + (columns - 16 - speed_px * t) ** 2
        frame = 0.7 + texture - 0.4 * np.exp(-blob / 50)
        frames.append(frame + rng.normal(0, 0.003, shape))
    return np.clip(frames, 0.02, 1).astype(np.float32)


def burst(truth, every=4, photons=PHOTONS, lr=None, hr=None, **options):
    clean = block_mean(truth) if lr is None else lr
    noisy = poisson(clean, photons, np.random.default_rng(1)) if photons else clean
    noise = NoiseModel.from_blank_photons(photons) if photons else NoiseModel()
    return DualSequence.from_arrays(
        noisy,
        truth[::every] if hr is None else hr,
        1000 * np.arange(len(noisy)),
        1000 * np.arange(0, len(truth), every)[: len(truth[::every])],
        **{"noise": noise, **options},
    )


def names(flags):
    return {flag.name for flag in flags}


@dataclass(frozen=True)
class Made:
    target: int
    image: np.ndarray
    variance: np.ndarray | None = None


def linear(sequence, targets):
    for target in targets:
        near, tau = sequence.neighbours(target), sequence.tau(target)
        yield Made(target, (1 - tau) * sequence.hr(near.before) + tau * sequence.hr(near.after))


def test_the_truth_is_consistent_and_has_its_detail():
    truth = scene()
    quality = SequenceQuality(burst(truth))
    assert quality.flags == ()
    good = quality.frame(10, truth[10])
    assert good.flags == ()
    assert good.consistency.chi2 == pytest.approx(1, abs=0.15)
    assert good.consistency.contradicted == pytest.approx(0.157, abs=0.05)
    assert good.detail == pytest.approx(1, abs=0.1)
    assert set(good.scalars()) == {"chi2", "chi2_high", "contradicted", "residual_rms", "detail"}


def test_bad_images_are_told_from_good_ones():
    truth = scene()
    dual = burst(truth)
    quality = SequenceQuality(dual)
    smooth = quality.frame(10, upsample_cubic(dual.lr(10)))
    assert smooth.consistency.chi2 < 0.5  # it holds the noise of the LR frame
    assert names(smooth.flags) == {"detail-lost", "noise-copied"}
    wrong = quality.frame(10, truth[10][:, ::-1].copy())
    assert names(wrong.flags) == {"contradicts-lr"}
    grain = np.random.default_rng(0).normal(0, 0.2, dual.shape).astype(np.float32)
    assert "detail-invented" in names(quality.frame(10, truth[10] + grain).flags)
    holed = truth[10].copy()
    holed[3, 4] = np.nan
    assert names(quality.frame(10, holed).flags) == {"missing-pixels"}
    nothing = quality.frame(10, np.full(dual.shape, np.nan, dtype=np.float32))
    assert names(nothing.flags) == {"no-image"}
    assert all(math.isnan(value) for value in nothing.scalars().values())
    with pytest.raises(ValueError, match=r"LR frame 10 has shape \(16, 24\)"):
        quality.frame(10, dual.lr(10))


def test_noise_that_no_model_gives_is_taken_from_the_frames():
    truth = scene(speed_px=0)
    sigma = 0.02
    lr = block_mean(truth) + np.random.default_rng(2).normal(0, sigma, (25, 16, 24))
    found = screen(burst(truth, photons=None, lr=lr))
    assert math.sqrt(found.noise.beta) == pytest.approx(sigma, rel=0.15)
    clean = screen(burst(scene(speed_px=0)[:1].repeat(9, axis=0), photons=None))
    assert clean.lr_psnr_db == pytest.approx(60, abs=0.1)  # the least that is asked for


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda lr, hr: lr.__setitem__(7, lr[6]), "repeated-lr"),
        (lambda lr, hr: lr.__setitem__(7, 0.0), "constant-lr"),
        (lambda lr, hr: lr.__setitem__(slice(12, None), lr[12:] * 0.8), "mean-jump"),
        (lambda lr, hr: lr.__setitem__(7, np.nan), "missing-lr"),
        (lambda lr, hr: hr.__setitem__(2, np.nan), "missing-hr"),
        (lambda lr, hr: lr.__setitem__((slice(None), 2), np.nan), "masked-pixels"),
        (lambda lr, hr: lr.__setitem__((slice(None), 2), 0.3), "dead-pixels"),
        (lambda lr, hr: np.minimum(lr, np.median(lr), out=lr), "saturated"),
        (lambda lr, hr: np.multiply(lr, 1.4, out=lr), "gain"),
        (lambda lr, hr: hr.__setitem__(slice(None), np.roll(hr, 2, axis=2)), "misregistered"),
        (lambda lr, hr: hr.__setitem__(slice(None), np.nan), "no-hr"),
        (lambda lr, hr: hr.__setitem__(3, 0.0), "constant-hr"),
    ],
)
def test_what_is_wrong_with_a_burst_is_flagged(break_it, expected):
    truth = scene()
    lr = poisson(block_mean(truth), PHOTONS, np.random.default_rng(1))
    hr = truth[::4].copy()
    break_it(lr, hr)
    dual = burst(truth, photons=None, lr=lr, hr=hr, noise=NoiseModel.from_blank_photons(PHOTONS))
    found = {flag.name: flag for flag in SequenceQuality(dual).flags}
    assert expected in found
    assert found[expected].reason
    assert found[expected].severity in set(Severity)
    if expected == "constant-lr":
        assert "the first is frame 7" in found[expected].reason


def test_noise_speed_gaps_and_lost_frames_are_flagged():
    assert "noisy-lr" in names(screen(burst(scene(), photons=20)).flags)
    fast = screen(burst(scene(n=12, shape=(64, 160), speed_px=10), every=3))
    assert "fast-motion" in names(fast.flags)
    assert screen(burst(scene(speed_px=2))).motion_px == pytest.approx(0.5, rel=0.3)
    assert "wide-gap" in names(screen(burst(scene(n=43), every=42)).flags)
    truth = scene(n=9)
    times = 1000.0 * np.arange(9)
    times[5:] += 1000
    lost = DualSequence.from_arrays(block_mean(truth), truth[::4], times, [0, 4000, 9000])
    assert "uneven-lr-times" in names(screen(lost).flags)


def test_a_held_out_frame_is_guessed_from_its_neighbours():
    truth = scene()
    dual = burst(truth)
    found = scores(linear, dual)
    assert [each.hr_frame for each in found] == [1, 2, 3, 4, 5]
    assert [each.target for each in found] == [4, 8, 12, 16, 20]
    assert {each.gap_frames for each in found} == {8}
    mean = (truth[0] + truth[8]) / 2
    by_hand = next(held for held in leave_one_out(linear, dual) if held.hr_frame == 1)
    np.testing.assert_allclose(by_hand.image, mean, atol=1e-6)
    np.testing.assert_array_equal(by_hand.truth, truth[4])
    assert {each.gap_frames for each in scores(linear, dual, thin=2)} == {16}
    wider = np.mean([each.psnr_db for each in scores(linear, dual, thin=2)])
    assert wider < np.mean([each.psnr_db for each in found])
    noise_free = scores(linear, dual, hr_noise_variance=0.003**2)
    assert all(b.psnr_db > a.psnr_db for a, b in zip(found, noise_free, strict=True))
    with pytest.raises(ValueError, match="at least 3 valid ones"):
        scores(linear, burst(truth, every=24))


def test_conformal_intervals_cover_frames_they_have_not_seen():
    truth = scene(n=81)
    dual = burst(truth, every=4)
    noise = screen(dual).noise
    interval = ConformalInterval.fit(leave_one_out(linear, dual), noise, alpha=0.1, delta=0.05)
    assert interval.held_out == 19
    targets = [t for t in range(80) if t % 4]
    good = 0
    for made in linear(dual, targets):
        width = interval.half_width(dual, made.target, made.image, noise)
        assert np.isfinite(width).all()
        outside = np.abs(truth[made.target] - made.image) > width
        good += outside.mean() <= 0.05
    assert good / len(targets) >= 0.85
    with pytest.raises(ValueError, match=r"at least 9 are needed; .* 0\.25 or more"):
        ConformalInterval.fit(leave_one_out(linear, burst(truth[:17])), noise, alpha=0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        ConformalInterval.fit([], noise, alpha=2)


def test_the_changed_region_follows_what_moves():
    dual = burst(scene(speed_px=3))
    region = changed_region(dual, 10, dual.noise)
    assert region[32, 16 + 30]
    assert region.mean() < 0.5
    assert not changed_region(burst(scene(speed_px=0)), 10, NoiseModel(beta=1.0)).any()


def test_a_burst_of_one_frame_or_without_a_pixel_raises_nothing():
    truth = scene(n=1)
    lonely = DualSequence.from_arrays(block_mean(truth), truth[:0], [0], [])
    quality = SequenceQuality(lonely)
    assert names(quality.flags) == {"no-hr"}
    assert math.isnan(quality.frame(0, truth[0]).detail)
    empty = DualSequence.from_arrays(np.full((2, 4, 4), np.nan), truth[:0], [0, 1], [])
    assert {"missing-lr", "no-hr"} <= names(SequenceQuality(empty).flags)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_masked_pixels_never_count(seed, share):
    rng = np.random.default_rng(seed)
    image = rng.random((16, 20), dtype=np.float32)
    y = block_mean(image) + rng.normal(0, 0.01, (4, 5)).astype(np.float32)
    mask = rng.random((4, 5)) >= share
    noise = NoiseModel(beta=1e-4)
    kept = Consistency.of(image, y, noise, mask)
    changed = Consistency.of(image, np.where(mask, y, rng.choice([np.nan, np.inf, 7])), noise, mask)
    assert kept == changed or (not mask.any() and math.isnan(kept.chi2))
    broken = image.copy()
    broken[np.repeat(np.repeat(~mask, 4, 0), 4, 1)] = np.nan
    if mask.any():
        assert Consistency.of(broken, y, noise).chi2 == pytest.approx(kept.chi2)
        assert math.isfinite(detail_energy(broken))
