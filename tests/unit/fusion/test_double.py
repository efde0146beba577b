"""The traversal `double`: every HR frame of the time of an LR frame is guessed, never given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfusion_bluesky.fusion.holdout import coincident_frames, double_passes
from xfusion_bluesky.fusion.sequence import DualSequence


def times(numbers):
    return np.array(numbers, dtype=float)


def found(lr, hr, lr_valid=None, hr_valid=None):
    lr_ok = np.ones(len(lr), bool) if lr_valid is None else np.array(lr_valid, bool)
    hr_ok = np.ones(len(hr), bool) if hr_valid is None else np.array(hr_valid, bool)
    return coincident_frames(times(lr), times(hr), lr_ok, hr_ok)


def test_frames_belong_together_within_half_an_lr_interval():
    lr = range(0, 100, 10)
    assert found(lr, [-6, 4, 23, 60, 96]) == {0: 1, 2: 2, 6: 3}
    assert found(lr, [28, 31, 33]) == {3: 1}
    assert found(lr, [0, 20, 40], lr_valid=[1, 1, 0] + [1] * 7) == {0: 0, 4: 2}
    assert found(lr, [0, 20, 40], hr_valid=[1, 1, 0]) == {0: 0, 2: 1}
    assert found([0], [0]) == {}


def burst(hr_numbers, hr_valid=None):
    lr = np.ones((12, 4, 4))
    hr = np.arange(1, len(hr_numbers) + 1)[:, None, None] * np.ones((len(hr_numbers), 16, 16))
    return DualSequence.from_arrays(lr, hr, range(12), hr_numbers, hr_valid=hr_valid)


def test_neighbours_are_the_matched_frames_before_and_after():
    # HR frame 2 lies between two LR frames' reach, frame 0 before the first.
    sequence = burst([-3, 1, 2.8, 5, 8, 14])
    held = {}
    for each in double_passes(sequence):
        for i, j in each.held.items():
            near = each.sequence.neighbours(i)
            held[i] = (j, near.before, near.after)
            assert not each.sequence.hr_valid[j]
            assert np.isnan(each.sequence.hr(j)).all()
    assert held == {1: (1, None, 2), 3: (2, 1, 3), 5: (3, 2, 4), 8: (4, 3, None)}


def test_one_frame_is_not_enough():
    with pytest.raises(ValueError, match="at least 2 HR frames at the time"):
        double_passes(burst([3, 20, 30]))


@given(st.lists(st.floats(-5, 16), min_size=2, max_size=12, unique=True).map(sorted))
def test_no_backend_ever_gets_the_answer(hr):
    try:
        passes = double_passes(burst(np.array(hr) + 1e-3 * np.arange(len(hr))))
    except ValueError:
        return
    matched = {j for each in passes for j in each.held.values()}
    for each in passes:
        given_frames = set(np.flatnonzero(each.sequence.hr_valid).tolist())
        assert given_frames == matched - set(each.held.values())
        for i in each.held:
            near = each.sequence.neighbours(i)
            assert near.before is not None or near.after is not None
