"""Backends bayesian-paper and bayesian-strong on scenes whose answer is known."""

from importlib import metadata

import numpy as np
import pytest
import xfusion_bayesian
from scipy import ndimage
from xfusion_bayesian import BayesianPaper, BayesianStrong

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.metrics import psnr
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic
from xfusion_bluesky.fusion.sequence import DualSequence, NoHRFrameError

BOTH = [BayesianPaper(), BayesianStrong()]
N = 13


def texture(seed=0, shape=(64, 96)):
    rng = np.random.default_rng(seed)
    return (0.5 + 2 * (ndimage.gaussian_filter(rng.random(shape), 1.2) - 0.5)).astype(np.float32)


def resting():
    return np.array([texture()] * N)


def moving(step=1):
    wide = texture(shape=(64, 96 + N * step))
    return np.array([wide[:, N * step - t * step :][:, :96] for t in range(N)])


def fading():
    """Every pixel changes linearly between two unrelated images."""
    a, b = texture(1), texture(2)
    return np.array([a + (b - a) * t / (N - 1) for t in range(N)], dtype=np.float32)


def movie(truth, hr_at=(0, 6, 12), photons=None, lr=None, hr=None, **options):
    lr = block_mean(truth) if lr is None else lr
    if photons is not None:
        lr = poisson(lr, photons, np.random.default_rng(8))
        options["noise"] = NoiseModel.from_blank_photons(photons)
    hr = truth[list(hr_at)] if hr is None else hr
    return DualSequence.from_arrays(lr, hr, np.arange(N), np.array(hr_at, float), **options)


def frames(backend, sequence, targets=range(N)):
    return [result.frame for result in checked_frames(backend, sequence, targets)]


def image(backend, sequence, target):
    return frames(backend, sequence, [target])[0].image


@pytest.mark.parametrize("backend", BOTH)
def test_a_resting_scene_is_returned_with_a_small_variance(backend):
    for frame in frames(backend, movie(resting())):
        assert psnr(frame.image, texture()) > 50
        assert frame.variance.mean() < 1e-3
        assert sum(frame.attention) == pytest.approx(1)


def test_without_noise_the_published_update_agrees_with_the_lr_frame():
    truth = moving()
    for frame in frames(BayesianPaper(), movie(truth)):
        lr = block_mean(truth[frame.target])
        np.testing.assert_allclose(block_mean(frame.image), lr, atol=1e-3)


@pytest.mark.parametrize("backend", BOTH)
def test_time_reversed_it_gives_the_mirrored_movie(backend):
    truth = moving()
    forward = frames(backend, movie(truth, (0, 12)), range(1, 12))
    back = frames(backend, movie(truth[::-1], (0, 12)), range(11, 0, -1))
    for a, b in zip(forward, back, strict=True):
        np.testing.assert_allclose(a.image, b.image, atol=2e-3)
        np.testing.assert_allclose(a.attention, np.take(b.attention, [1, 0, 2]), atol=2e-3)


@pytest.mark.parametrize("backend", BOTH)
def test_a_target_alone_has_the_same_bits_as_in_the_whole_movie(backend):
    truth = moving()
    whole = frames(backend, movie(truth, photons=1e3))
    for target in (12, 0, 7, 7):
        (alone,) = frames(backend, movie(truth, photons=1e3), [target])
        np.testing.assert_array_equal(alone.image, whole[target].image)
        np.testing.assert_array_equal(alone.variance, whole[target].variance)
        assert alone.diagnostics == whole[target].diagnostics


def test_the_published_prediction_is_exact_where_every_pixel_changes_alike():
    """A scene that gets brighter evenly: the clusters' regression is the truth."""
    truth = np.array([texture() * (0.6 + 0.03 * t) for t in range(N)])
    for target in (3, 9):
        assert psnr(image(BayesianPaper(), movie(truth), target), truth[target]) > 40


def test_motion_is_followed_where_the_published_method_blurs():
    truth = moving(2)
    sequence = movie(truth)
    for target in (2, 3, 4, 8, 10):
        strong = psnr(image(BayesianStrong(), sequence, target), truth[target])
        paper = psnr(image(BayesianPaper(), sequence, target), truth[target])
        cubic = psnr(upsample_cubic(sequence.lr(target)), truth[target])
        assert strong > max(paper, cubic) + 3


def test_where_no_hr_frame_explains_the_lr_frame_its_upsampling_stands():
    truth = np.array([texture(10 + t) for t in range(N)])
    sequence = movie(truth)
    for frame in frames(BayesianStrong(), sequence, (2, 9)):
        cubic = upsample_cubic(sequence.lr(frame.target))
        assert psnr(frame.image, truth[frame.target]) > psnr(cubic, truth[frame.target]) - 0.3
        assert frame.attention[2] > 0.5


@pytest.mark.parametrize("hr_at", [(0, 6, 12), (0.4, 6.4, 11.6)])
def test_lr_noise_is_not_copied_in(hr_at):
    """Also when no LR frame was taken together with an HR frame."""
    sequence = movie(resting(), hr_at, photons=100, hr=resting()[:3])
    left = [np.square(each.image - texture()).mean() for each in frames(BayesianStrong(), sequence)]
    noise = np.square(sequence.lr(4) - block_mean(texture())).mean()
    assert np.mean(left) < 0.03 * noise


@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize("photons", [None, 300])
@pytest.mark.parametrize("scene", [moving, fading])
def test_the_variance_is_that_of_the_error(backend, scene, photons):
    truth = scene()
    made = frames(backend, movie(truth, (0, 3, 6, 9, 12), photons), (1, 2, 4, 5, 7, 8))
    error = np.mean([np.square(each.image - truth[each.target]).mean() for each in made])
    variance = np.mean([each.variance.mean() for each in made])
    assert 1 / 4 < error / variance < 4


@pytest.mark.parametrize("backend", BOTH)
def test_other_units_of_the_lr_camera_are_calibrated_away(backend):
    truth = moving()
    plain = movie(truth)
    scaled = movie(truth, lr=1.2 * block_mean(truth) + 0.1)
    (frame,) = frames(backend, scaled, [3])
    np.testing.assert_allclose(frame.image, image(backend, plain, 3), atol=2e-3)
    assert frame.diagnostics["lr_gain"] == pytest.approx(1.2, abs=0.01)
    assert frame.diagnostics["lr_offset"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("backend", BOTH)
def test_a_hidden_part_of_one_hr_frame_is_taken_from_the_other(backend):
    hr = resting()[[0, 6, 12]]
    hr[0, 20:44, 30:60] = np.nan
    hr[1, 40:56, 50:90] = np.nan
    made = image(backend, movie(resting(), hr=hr), 3)
    only_first, only_second = (slice(46, 54), slice(66, 86)), (slice(24, 36), slice(34, 56))
    for part in (only_first, only_second):
        assert psnr(made[part], texture()[part]) > 35
    neither = (slice(40, 44), slice(52, 60))
    assert np.abs(made - texture())[neither].max() < 0.3


@pytest.mark.parametrize("backend", BOTH)
def test_a_masked_lr_pixel_corrects_nothing(backend):
    lr = block_mean(resting())
    lr[3, 5:8, 5:8] = np.nan
    made = image(backend, movie(resting(), lr=lr), 3)
    assert psnr(made[16:36, 16:36], texture()[16:36, 16:36]) > 40


@pytest.mark.parametrize("backend", BOTH)
def test_an_lr_frame_without_pixels_is_masked_and_others_do_without_it(backend):
    truth = moving()
    lr = block_mean(truth)
    lr[6] = np.nan  # taken together with the HR frame in the middle
    made = frames(backend, movie(truth, lr=lr))
    for frame in made:
        lost = frame.target == 6
        assert np.isnan(frame.image).all() == lost
        assert frame.diagnostics.get("masked", 0) == lost
        if not lost:
            assert psnr(frame.image, truth[frame.target]) > 15


@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize("hr_at", [(0,), (12,), (5.4,), (3.4, 8.6), (0, 12), (-4, 30)])
def test_few_hr_frames_and_none_at_an_lr_time(backend, hr_at):
    truth = moving()
    hr = np.array([truth[int(np.clip(t, 0, 12))] for t in hr_at])
    sequence = DualSequence.from_arrays(
        block_mean(truth), hr, np.arange(N), np.array(hr_at, float), noise=NoiseModel(1e-3, 0)
    )
    for frame in frames(backend, sequence):
        assert np.isfinite(frame.image).all()
        assert (frame.variance >= 0).all()


@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize("lr_shape", [(1, 1), (2, 2), (3, 30)])
def test_a_tiny_field(backend, lr_shape):
    shape = (4 * lr_shape[0], 4 * lr_shape[1])
    truth = np.array([texture(t, shape) for t in range(N)])
    for frame in frames(backend, movie(truth, photons=1e3)):
        assert np.isfinite(frame.image).all()


@pytest.mark.parametrize("backend", BOTH)
def test_no_valid_hr_frame_is_refused_at_once(backend):
    empty = movie(resting(), hr_valid=[False] * 3)
    with pytest.raises(NoHRFrameError, match=backend.info.id):
        backend.reconstruct(empty, [0])


def test_parameters_out_of_range_are_refused():
    for kind, parameters in (
        (BayesianPaper, {"clusters": 0}),
        (BayesianPaper, {"iterations": -1}),
        (BayesianPaper, {"hr_noise": -1.0}),
        (BayesianPaper, {"shrinkage": -1.0}),
        (BayesianStrong, {"consistency_passes": -1}),
    ):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            kind(**parameters)


def test_the_number_of_clusters_can_be_chosen():
    few, many = (image(BayesianPaper(clusters=k), movie(fading()), 4) for k in (1, 12))
    assert not np.array_equal(few, many)


def test_they_are_found_where_they_are_installed():
    registry = Registry.discover(allow=["xfusion-bayesian"])
    assert registry.available() == ["bayesian-paper", "bayesian-strong"]
    assert [registry.create(name) for name in registry.available()] == BOTH
    version = registry.factories["bayesian-strong"].version
    assert version == xfusion_bayesian.__version__ == metadata.version("xfusion-bayesian")
