"""DualSequence: neighbours and tau, masks, laziness, and errors that name the frame."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfusion_bluesky.fusion.pixelmap import PixelMap
from xfusion_bluesky.fusion.sequence import ArraySource, DualSequence, NoHRFrameError


def sequence(n_lr=6, hr_time_ns=(0, 400), **options):
    rng = np.random.default_rng(0)
    lr = rng.random((n_lr, 3, 5), dtype=np.float32)
    hr = rng.random((len(hr_time_ns), 12, 20), dtype=np.float32)
    return DualSequence.from_arrays(lr, hr, 100 * np.arange(n_lr), hr_time_ns, **options)


@dataclass
class CountingSource:
    """Remembers which frames were read."""

    frames: np.ndarray
    read: list[int] = field(default_factory=list)

    @property
    def shape(self):
        return self.frames.shape[1:]

    def __len__(self):
        return len(self.frames)

    def frame(self, k):
        self.read.append(k)
        return self.frames[k]

    def mask(self, k):
        return np.ones(self.shape, dtype=bool)


def test_shapes_times_and_frames():
    dual = sequence()
    assert (dual.scale, dual.lr_shape, dual.shape) == (4, (3, 5), (12, 20))
    assert (dual.n_lr, dual.n_hr, dual.lr_interval_ns) == (6, 2, 100)
    assert dual.lr(0).dtype == dual.hr(0).dtype == np.float32
    assert dual.lr(5).shape == (3, 5)
    assert dual.hr(1).shape == (12, 20)
    assert dual.lr_mask(0).all()
    assert dual.hr_mask(0).all()
    assert np.isnan(sequence(n_lr=1).lr_interval_ns)


@st.composite
def timed(draw):
    times = st.lists(st.integers(0, 60), unique=True, max_size=8).map(sorted)
    hr = draw(times)
    valid = draw(st.lists(st.booleans(), min_size=len(hr), max_size=len(hr)))
    return draw(st.integers(0, 60)), hr, valid


@given(timed())
def test_neighbours_are_the_nearest_valid_frames_and_tau_the_place_between(case):
    time, hr, valid = case
    dual = DualSequence.from_arrays(
        np.zeros((1, 1, 1)), np.zeros((len(hr), 4, 4)), [time], hr, hr_valid=valid
    )
    near = dual.neighbours(0)
    earlier = [j for j, t in enumerate(hr) if valid[j] and t <= time]
    later = [j for j, t in enumerate(hr) if valid[j] and t > time]
    assert near.before == (earlier[-1] if earlier else None)
    assert near.after == (later[0] if later else None)
    if not any(valid):
        with pytest.raises(NoHRFrameError, match="LR frame 0"):
            dual.tau(0)
        return
    tau = dual.tau(0)
    assert 0 <= tau <= 1
    if not later:
        assert tau == 0
    elif not earlier:
        assert tau == 1
    else:
        a, b = hr[earlier[-1]], hr[later[0]]
        assert (1 - tau) * a + tau * b == pytest.approx(time)


def test_making_a_sequence_reads_nothing_and_each_frame_is_read_once():
    lr, hr = CountingSource(np.zeros((50, 3, 5))), CountingSource(np.zeros((6, 12, 20)))
    dual = DualSequence(lr, hr, np.arange(50), np.arange(6) * 10)
    dual.neighbours(7)
    assert (lr.read, hr.read) == ([], [])
    for i in range(50):
        dual.lr(i)
        dual.lr_mask(i)
        near = dual.neighbours(i)
        for j in {near.before, near.after} - {None}:
            dual.hr(j)
            dual.hr_mask(j)
    assert lr.read == list(range(50))
    assert hr.read == list(range(6))


def test_only_a_few_frames_are_kept():
    hr = CountingSource(np.zeros((9, 12, 20)))
    dual = DualSequence(CountingSource(np.zeros((1, 3, 5))), hr, [0], np.arange(9))
    for j in [*range(9), 0, 8]:
        dual.hr(j)
    assert hr.read == [*range(9), 0]


def test_frames_handed_out_cannot_be_changed():
    dual = sequence()
    for array in (dual.lr(0), dual.hr(0), dual.lr_mask(0), dual.lr_time_ns, dual.hr_valid):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_the_source_is_left_alone():
    lr = np.zeros((1, 3, 5), dtype=np.float32)
    hr = np.zeros((1, 12, 20), dtype=np.float32)
    dual = DualSequence.from_arrays(lr, hr, [0], [0])
    dual.lr(0), dual.hr(0)
    lr[...] = 1
    hr[...] = 1
    assert dual.lr(0).max() == dual.hr(0).max() == 0


def test_pixels_without_a_value_are_masked_and_filled_from_the_nearest():
    lr = np.ones((2, 3, 5))
    lr[0, 1, 1] = np.nan
    lr[0, 0, 4] = np.inf
    hr = np.full((1, 12, 20), 2.0)
    hr[0, 5, 5] = np.nan
    dual = DualSequence.from_arrays(lr, hr, [0, 1], [0])
    assert np.argwhere(~dual.lr_mask(0)).tolist() == [[0, 4], [1, 1]]
    assert np.argwhere(~dual.hr_mask(0)).tolist() == [[5, 5]]
    np.testing.assert_array_equal(dual.lr(0), 1)
    np.testing.assert_array_equal(dual.hr(0), 2)
    assert dual.lr_valid.all()


def test_masks_of_the_source_count():
    mask = np.ones((1, 3, 5), dtype=bool)
    mask[0, 2, 2] = False
    dual = DualSequence.from_arrays(
        np.arange(15.0).reshape(1, 3, 5), np.zeros((0, 12, 20)), [0], [], lr_mask=mask
    )
    assert not dual.lr_mask(0)[2, 2]
    assert dual.lr(0)[2, 2] in (7, 11, 13)


def test_a_frame_without_usable_pixels_is_invalid_and_nan():
    lr = np.ones((3, 3, 5))
    lr[1] = np.nan
    hr = np.ones((3, 12, 20))
    hr[0] = np.nan
    dual = DualSequence.from_arrays(lr, hr, [0, 1, 2], [0, 1, 2], hr_valid=[True, True, False])
    assert dual.lr_valid.tolist() == [True, False, True]
    assert dual.hr_valid.tolist() == [False, True, False]
    assert np.isnan(dual.lr(1)).all()
    assert not dual.lr_mask(1).any()
    assert not dual.hr_mask(2).any()
    assert (dual.neighbours(0).before, dual.neighbours(0).after) == (None, 1)


def test_invalid_frames_are_never_read():
    lr = CountingSource(np.zeros((2, 3, 5)))
    dual = DualSequence(lr, ArraySource(np.zeros((0, 12, 20))), [0, 1], [], lr_valid=[True, False])
    assert np.isnan(dual.lr(1)).all()
    assert lr.read == []


def test_an_empty_frame_that_was_declared_valid_is_an_error_of_its_own():
    lr, hr = CountingSource(np.zeros((1, 3, 5))), CountingSource(np.full((1, 12, 20), np.nan))
    dual = DualSequence(lr, hr, [0], [0])
    with pytest.raises(ValueError, match=r"HR frame 0 .*hr_valid\[0\] = False"):
        dual.hr(0)


def test_hr_frames_arrive_on_the_grid_of_the_pixel_map():
    hr = np.random.default_rng(1).random((1, 20, 30), dtype=np.float32)
    shifted = PixelMap(np.array([[1.0, 0, 2], [0, 1, 5]]), (1, 2), (3, 5))
    lr = np.arange(48.0).reshape(1, 6, 8)
    dual = DualSequence.from_arrays(lr, hr, [0], [0], pixel_map=shifted)
    np.testing.assert_array_equal(dual.hr(0), hr[0, 2:14, 5:25])
    np.testing.assert_array_equal(dual.lr(0), lr[0, 1:4, 2:7])


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0, 1], "3 LR frames need 3 times"),
        ([0, 2, 2], "LR frame 2 .* not later than frame 1"),
        ([0, 3, 2], "LR frame 2"),
        ([0, np.nan, 2], "LR frame 1"),
    ],
)
def test_impossible_times_are_refused_by_frame(times, words):
    with pytest.raises(ValueError, match=words):
        DualSequence.from_arrays(np.zeros((3, 3, 5)), np.zeros((1, 12, 20)), times, [0])


def test_a_frame_of_another_shape_is_named_when_it_is_read():
    class Torn(CountingSource):
        def frame(self, k):
            return self.frames[k][:-1] if k == 2 else self.frames[k]

    dual = DualSequence(
        Torn(np.zeros((3, 3, 5))), ArraySource(np.zeros((0, 12, 20))), [0, 1, 2], []
    )
    dual.lr(1)
    with pytest.raises(ValueError, match=r"LR frame 2 has shape \(2, 5\)"):
        dual.lr(2)


def test_other_misfits_are_refused():
    with pytest.raises(IndexError, match=r"LR frame 6 .*0\.\.5"):
        sequence().lr(6)
    with pytest.raises(IndexError, match="HR frame -1"):
        sequence().hr(-1)
    with pytest.raises(IndexError, match="LR frame -1"):
        sequence().neighbours(-1)
    with pytest.raises(ValueError, match="at least one LR frame"):
        DualSequence.from_arrays(np.zeros((0, 3, 5)), np.zeros((1, 12, 20)), [], [0])
    with pytest.raises(ValueError, match="2 HR frames need 2 flags"):
        sequence(hr_valid=[True])
    with pytest.raises(ValueError, match="does not fit"):
        sequence(pixel_map=PixelMap.nominal((9, 9), (36, 36)))
    with pytest.raises(ValueError, match=r"\(n, h, w\)"):
        ArraySource(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="masks of shape"):
        ArraySource(np.zeros((1, 3, 5)), np.ones((1, 3, 4), dtype=bool))
