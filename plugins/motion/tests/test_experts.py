"""Backends experts and flow-bp on scenes whose answer is known."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from xfusion_motion import Experts, FlowBackProjection, Linear, LinearBackProjection

from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.metrics import psnr
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic
from xfusion_bluesky.fusion.sequence import ArraySource, DualSequence

SHAPE = (64, 96)
BOTH = [Experts(), FlowBackProjection()]


def texture(seed=0, shape=SHAPE, grain_px=1.2):
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), grain_px)
    return (0.2 + 0.6 * (rough - rough.min()) / np.ptp(rough)).astype(np.float32)


def drifting(n, speed_px=1.5):
    """A texture that moves to the right, seen through a window."""
    wide = texture(1, (SHAPE[0], SHAPE[1] + 120))
    columns = np.arange(SHAPE[1])
    rows = np.arange(SHAPE[0])[:, None] * np.ones_like(columns)
    return np.array(
        [
            ndimage.map_coordinates(
                wide, [rows, (columns + 100 - speed_px * t) + 0 * rows], order=3
            )
            for t in range(n)
        ],
        dtype=np.float32,
    )


def burst(truth, every=8, photons=None, hr=None, **options):
    """LR frame of every true image, HR frame of each `every`-th."""
    truth = np.asarray(truth, dtype=np.float32)
    times = np.arange(0, len(truth), every)
    y = block_mean(truth)
    if photons is not None:
        y = poisson(y, photons, np.random.default_rng(9))
        options.setdefault("noise", NoiseModel.from_blank_photons(photons))
    hr = truth[times] if hr is None else hr
    options = {"lr": y, "hr": hr, **options}
    return DualSequence.from_arrays(lr_time_ns=np.arange(len(truth)), hr_time_ns=times, **options)


def frames(backend, sequence, targets=None):
    targets = range(sequence.n_lr) if targets is None else targets
    return [result.frame for result in checked_frames(backend, sequence, targets)]


def image(backend, sequence, target):
    return frames(backend, sequence, [target])[0].image


def test_noise_in_a_static_scene_leaves_the_interpolated_hr_frames():
    scene = texture()
    for photons in (100, 1e4):
        sequence = burst([scene] * 17, photons=photons)
        for target in (3, 12):
            assert psnr(image(Experts(), sequence, target), scene) > 60


def test_noise_of_hr_frames_is_averaged_out():
    scene = ndimage.gaussian_filter(texture(), 3)
    hr = scene + 0.02 * np.random.default_rng(2).standard_normal((9, *SHAPE)).astype(np.float32)
    sequence = burst([scene] * 65, hr=hr)
    fused, line = (psnr(image(b, sequence, 36), scene) for b in (Experts(), Linear()))
    assert fused > line + 3
    assert fused > psnr(image(Experts(further_hr=0), sequence, 36), scene)


@pytest.mark.parametrize("photons", [None, 1e3])
@pytest.mark.parametrize("backend", BOTH, ids=lambda backend: backend.info.id)
def test_detail_follows_the_motion(backend, photons):
    truth = drifting(17)
    sequence = burst(truth, photons=photons)
    for target in (4, 11):
        others = [image(b, sequence, target) for b in (Linear(), LinearBackProjection())]
        others.append(upsample_cubic(sequence.lr(target)))
        best = max(psnr(other, truth[target]) for other in others)
        assert psnr(image(backend, sequence, target), truth[target]) > best + (
            1.5 if photons else 3
        )


def test_something_new_is_taken_from_the_lr_frame():
    """No HR frame shows it, so what remains is the bicubic image."""
    truth = np.array([texture()] * 17)
    truth[2:7, 24:40, 40:56] = 0.0
    sequence = burst(truth)
    fused, y = image(Experts(), sequence, 4), upsample_cubic(sequence.lr(4))
    inside = np.s_[20:44, 36:60]
    assert psnr(fused[inside], truth[4][inside]) > psnr(y[inside], truth[4][inside]) - 0.1
    outside = np.s_[:, 72:]
    assert psnr(fused[outside], truth[4][outside]) > 60


def test_lr_noise_is_not_copied():
    truth = drifting(17)
    sequence = burst(truth, photons=200)
    target = 12
    left = np.std(block_mean(image(Experts(), sequence, target) - truth[target]))
    assert left < 0.7 * np.std(sequence.lr(target) - block_mean(truth[target]))


@pytest.mark.parametrize("model", [NoiseModel(), NoiseModel.from_blank_photons(2000)])
def test_a_wrong_noise_model_is_noticed(model):
    truth = drifting(17, speed_px=0.3)
    sequence = burst(truth, photons=200, noise=model)
    fused, plain = (
        psnr(image(backend, sequence, 4), truth[4]) for backend in (Experts(), Linear())
    )
    copied = psnr(upsample_cubic(sequence.lr(4)), truth[4])
    assert fused > max(plain, copied) + 1


@pytest.mark.parametrize("photons", [None, 1e3])
def test_the_variance_says_how_wrong_it_is(photons):
    truth = drifting(25)
    made = frames(Experts(), burst(truth, photons=photons), (3, 4, 5, 12, 20))
    error = np.mean([np.square(f.image - truth[f.target]).mean() for f in made])
    expected = np.mean([f.variance.mean() for f in made])
    assert 1 / 3 < error / expected < 3


def test_attention_tells_which_hr_frames_serve():
    truth = np.array([texture()] * 9)
    truth[4:] = texture(5)
    early, late = frames(Experts(), burst(truth), (2, 6))
    assert early.attention[0] > 0.55
    assert late.attention[1] > 0.55
    new = np.array([*truth[:8], truth[0]])
    (neither,) = frames(Experts(), burst(new), [5])
    assert neither.attention[2] > 0.8
    y = block_mean(new[5])
    assert psnr(neither.image, new[5]) > psnr(upsample_cubic(y), new[5]) - 0.1


def test_the_lr_frame_of_an_hr_frame_becomes_that_frame():
    truth = drifting(17)
    (frame,) = frames(Experts(), burst(truth, photons=1e3), [8])
    np.testing.assert_array_equal(frame.image, truth[8])
    assert frame.attention == (1, 0, 0)


@pytest.mark.parametrize("backend", BOTH, ids=lambda backend: backend.info.id)
@pytest.mark.parametrize("every", [2, 5, 16])
def test_alone_and_among_others_a_target_has_the_same_bits(backend, every):
    sequence = burst(drifting(23), every=every, photons=1e3)
    whole = frames(backend, sequence)
    fresh = burst(drifting(23), every=every, photons=1e3)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        for target in (22, 0, 13, 13, 7):
            (alone,) = frames(backend, fresh, [target])
            np.testing.assert_array_equal(alone.image, whole[target].image)
            np.testing.assert_array_equal(alone.variance, whole[target].variance)
            assert alone.attention == whole[target].attention
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize("backend", BOTH, ids=lambda backend: backend.info.id)
def test_beyond_the_ends_one_neighbour_serves(backend):
    truth = drifting(13, speed_px=0.8)
    sequence = DualSequence.from_arrays(
        block_mean(truth), truth[[5, 8]], np.arange(13), np.array([5.0, 8.0])
    )
    for frame, side in zip(frames(backend, sequence, (2, 11)), (1, 0), strict=True):
        y = upsample_cubic(sequence.lr(frame.target))
        assert psnr(frame.image, truth[frame.target]) > psnr(y, truth[frame.target]) + 1
        assert frame.attention[1 - side] == 0


@pytest.mark.parametrize("backend", BOTH, ids=lambda backend: backend.info.id)
def test_masked_frames_and_pixels(backend):
    truth = np.array([texture()] * 17)
    lr = poisson(block_mean(truth), 1e4, np.random.default_rng(3))
    lr[5] = np.nan
    lr[4, 6:8, 6:8] = np.nan
    sequence = burst(truth, lr=lr, noise=NoiseModel.from_blank_photons(1e4))
    masked, good = frames(backend, sequence, (5, 4))
    assert masked.diagnostics["masked"] == 1
    assert np.isnan(masked.image).all()
    assert psnr(good.image, truth[4]) > 40


def test_masked_pixels_of_an_hr_frame_are_not_pasted_in():
    truth = np.array([texture()] * 17)
    hr = truth[::8].copy()
    hr[1, 20:44, 30:60] = np.nan
    for target in (6, 8, 10):
        assert psnr(image(Experts(), burst(truth, hr=hr), target), truth[0]) > 50


def test_where_no_hr_frame_has_a_usable_pixel_the_bicubic_image_remains():
    truth = drifting(17)
    hr = truth[::8].copy()
    hr[:, :, 60:] = np.nan
    sequence = burst(truth, hr=hr)
    fused = image(Experts(), sequence, 3)
    np.testing.assert_allclose(fused[:, 76:], upsample_cubic(sequence.lr(3))[:, 76:], atol=1e-5)


def test_hr_frames_are_not_read_over_and_over():
    read = []

    class Recording(ArraySource):
        def frame(self, k):
            read.append(k)
            return super().frame(k)

    truth = drifting(81, speed_px=0.2)
    hr = Recording(truth[::2])
    sequence = DualSequence(
        ArraySource(block_mean(truth)), hr, np.arange(81.0), np.arange(0, 81.0, 2)
    )
    frames(Experts(), sequence)
    assert max(np.bincount(read)) <= 2


def test_a_negative_number_of_hr_frames_is_refused():
    with pytest.raises(ValueError, match="further_hr"):
        Experts(further_hr=-1)
