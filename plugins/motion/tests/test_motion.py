"""Backends hold, linear, linear-bp on scenes whose answer is known."""

from importlib import metadata

import numpy as np
import pytest
import xfusion_motion
from xfusion_motion import Hold, Linear, LinearBackProjection
from xfusion_motion.linear_bp import wiener_gain

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.metrics import psnr
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic
from xfusion_bluesky.fusion.sequence import ArraySource, DualSequence, NoHRFrameError

ALL = [Hold(), Linear(), LinearBackProjection()]
N = 9


def blob(centre_px):
    rows, columns = np.indices((48, 64))
    return 1 - 0.6 * np.exp(-((rows - 24) ** 2 + (columns - centre_px) ** 2) / (2 * 6.0**2))


def texture():
    return np.random.default_rng(0).random((48, 64), dtype=np.float32)


def movie(scene, hr_at=(0, 8), **options):
    """LR frames at times 0..8, HR frames of the same scene at `hr_at`."""
    truth = np.array(scene, dtype=np.float32)
    return DualSequence.from_arrays(
        block_mean(truth), truth[list(hr_at)], np.arange(N), np.array(hr_at, float), **options
    )


static = pytest.fixture(name="static")(lambda: movie([texture()] * N))
moving = pytest.fixture(name="moving")(lambda: movie([blob(24 + 2 * t) for t in range(N)]))


def frames(backend, sequence, targets=range(N)):
    return [result.frame for result in checked_frames(backend, sequence, targets)]


@pytest.mark.parametrize("backend", ALL)
def test_a_static_scene_is_returned_bit_by_bit(backend, static):
    for frame in frames(backend, static):
        np.testing.assert_array_equal(frame.image, texture())


def test_hold_takes_the_nearer_frame_and_of_equals_the_earlier(moving):
    made = frames(Hold(), moving, range(N - 1))
    for frame in made:
        source = 0 if frame.target <= 4 else 1
        np.testing.assert_array_equal(frame.image, moving.hr(source))
        assert frame.attention == ((1, 0, 0) if source == 0 else (0, 1, 0))
    assert made[5].diagnostics["hr_distance_ns"] == 3


def test_linear_is_exact_for_a_scene_that_changes_linearly():
    start, end = texture(), texture()[::-1]
    fading = movie([(1 - t / 8) * start + t / 8 * end for t in range(N)])
    for frame in frames(Linear(), fading, range(N - 1)):
        tau = frame.target / 8
        np.testing.assert_allclose(frame.image, (1 - tau) * start + tau * end, atol=1e-6)
        assert frame.attention == pytest.approx((1 - tau, tau, 0))


def test_back_projection_beats_the_line_and_bicubic_on_a_moving_blob(moving):
    for frame in frames(LinearBackProjection(), moving, range(1, N - 1)):
        truth = blob(24 + 2 * frame.target)
        (line,) = frames(Linear(), moving, [frame.target])
        assert psnr(frame.image, truth) > psnr(line.image, truth) + 6
        assert frame.attention == line.attention
        assert frame.diagnostics["gain_mean"] == 1


def test_without_noise_the_result_nearly_agrees_with_the_lr_frame(moving):
    """One pass of U3 leaves (I - H U3) e; for a smooth residual that is a few per cent."""
    for frame in frames(LinearBackProjection(), moving, range(1, N - 1)):
        left = block_mean(frame.image) - moving.lr(frame.target)
        assert np.sqrt(np.mean(left**2)) < 0.1 * frame.diagnostics["residual_rms"]


@pytest.mark.parametrize("backend", ALL)
def test_beyond_the_ends_the_only_neighbour_serves(backend):
    scene = [blob(24 + 2 * t) for t in range(N)]
    before, inside, after = frames(backend, movie(scene, hr_at=(2, 5)), (0, 2, 8))
    only = {0: scene[2], 2: scene[2], 8: scene[5]}
    for frame, shares in ((before, (0, 1, 0)), (inside, (1, 0, 0)), (after, (1, 0, 0))):
        held = np.float32(only[frame.target])
        residual = block_mean(np.float32(scene[frame.target])) - block_mean(held)
        corrects = isinstance(backend, LinearBackProjection)
        expected = held + upsample_cubic(residual) if corrects else held
        np.testing.assert_allclose(frame.image, expected, atol=1e-6)
        assert frame.attention == shares


@pytest.mark.parametrize("backend", ALL)
def test_an_invalid_hr_frame_is_passed_over(backend):
    scene = [texture()] * N
    scene[4] = np.full((48, 64), np.nan)
    sequence = movie(scene, hr_at=(0, 4, 8), lr_valid=[True] * N)
    assert sequence.hr_valid.tolist() == [True, False, True]
    made = frames(backend, sequence, (3, 5))
    for frame in made:
        np.testing.assert_array_equal(frame.image, texture())


@pytest.mark.parametrize("backend", ALL)
def test_no_valid_hr_frame_is_refused_at_once(backend, moving):
    empty = movie([texture()] * N, hr_valid=[False, False])
    with pytest.raises(NoHRFrameError, match=backend.info.id):
        backend.reconstruct(empty, [0])


@pytest.mark.parametrize("backend", ALL)
def test_one_target_twice_or_among_all_gives_the_same_bits_in_the_order_asked(backend):
    sequence = movie(
        [blob(24 + 2 * t) for t in range(N)], hr_at=(0, 3, 6, 8), noise=NoiseModel(1e-3, 1e-5)
    )
    whole = frames(backend, sequence)
    order = (7, 0, 4, 4, 2)
    again = frames(backend, sequence, order)
    assert [frame.target for frame in again] == list(order)
    for frame in again:
        np.testing.assert_array_equal(frame.image, whole[frame.target].image)
        assert frame.diagnostics == whole[frame.target].diagnostics


def test_a_masked_lr_frame_masks_only_the_backend_that_needs_it():
    sequence = movie([texture()] * N, lr_valid=np.arange(N) != 3)
    masked, good = frames(LinearBackProjection(), sequence, (3, 4))
    assert np.isnan(masked.image).all()
    assert masked.diagnostics["masked"] == 1
    assert np.isfinite(good.image).all()
    for backend in (Hold(), Linear()):
        np.testing.assert_array_equal(frames(backend, sequence, [3])[0].image, texture())


def test_a_masked_lr_pixel_corrects_nothing():
    lr = block_mean(np.array([texture()] * N))
    lr[4, 5, 5] = np.nan
    sequence = DualSequence.from_arrays(lr, np.array([texture()] * 2), range(N), [0, 8])
    (frame,) = frames(LinearBackProjection(), sequence, [4])
    np.testing.assert_array_equal(frame.image, texture())


def test_each_hr_frame_is_read_once_in_a_whole_run():
    read = []

    class Recording(ArraySource):
        def frame(self, k):
            read.append(k)
            return super().frame(k)

    truth = np.array([texture()] * N)
    lr, hr = ArraySource(block_mean(truth)), Recording(truth[:3])
    frames(LinearBackProjection(), DualSequence(lr, hr, range(N), [0, 4, 8]))
    assert read == [0, 1, 2]


def test_the_gain_tells_change_from_noise():
    rng = np.random.default_rng(4)
    noise = NoiseModel.from_blank_photons(1e3)
    flat = np.full((60, 60), 0.5, dtype=np.float32)
    y = poisson(flat, 1e3, rng)
    assert wiener_gain(y - flat, y, noise).mean() < 0.2
    jump = y.copy()
    jump[20:40, 20:40] += 0.3
    gain = wiener_gain(jump - flat, jump, noise)
    assert gain[22:38, 22:38].min() > 0.95
    np.testing.assert_array_equal(wiener_gain(y - flat, y, NoiseModel()), 1)


def test_with_noise_the_gain_keeps_the_static_part_quiet():
    truth = np.array([texture()] * N)
    y = poisson(block_mean(truth), 1e3, np.random.default_rng(1))

    def error(noise):
        sequence = DualSequence.from_arrays(y, truth[:2], range(N), [0, 8], noise=noise)
        (frame,) = frames(LinearBackProjection(), sequence, [4])
        return np.abs(frame.image - texture()).mean()

    assert error(NoiseModel.from_blank_photons(1e3)) < 0.5 * error(NoiseModel())


def test_they_are_found_where_they_are_installed():
    registry = Registry.discover(allow=["xfusion-motion"])
    assert registry.available() == ["experts", "flow-bp", "hold", "linear", "linear-bp"]
    assert all(registry.create(backend.info.id) == backend for backend in ALL)
    version = registry.factories["linear-bp"].version
    assert version == xfusion_motion.__version__ == metadata.version("xfusion-motion")
