from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.matching import (
    NO_FRAME,
    match_frames,
    xfusion_forward_map,
    xfusion_reverse_map,
)

EPOCH_NS = 1_700_000_000_123_456_780
PHANTOM_NS = EPOCH_NS + 20_000 * np.arange(30, dtype=np.int64)
FLAG = (np.arange(30) >= 10) & (np.arange(30) <= 14)
SHIMADZU_NS = 700 + 5_000 * np.arange(20, dtype=np.int64)


def test_the_maps_of_xfusion_are_those_of_its_worked_example() -> None:
    forward = xfusion_forward_map(PHANTOM_NS, FLAG, SHIMADZU_NS)
    assert forward[:5].tolist() == [[0, 10, 11], [1, 10, 11], [2, 10, 11], [3, 10, 11], [4, 11, 12]]
    assert len(forward) == 16, "it stops at the last flagged Phantom frame"
    reverse = xfusion_reverse_map(PHANTOM_NS, FLAG, SHIMADZU_NS)
    assert reverse.tolist() == [[10, 0], [11, 4], [12, 8], [13, 12], [14, 16]]


def test_the_reverse_map_accepts_ten_nanoseconds_and_no_more() -> None:
    late = SHIMADZU_NS.copy()
    late[4] += 10
    late[8] += 11
    assert xfusion_reverse_map(PHANTOM_NS, FLAG, late)[:, 0].tolist() == [10, 11, 13, 14]
    assert xfusion_reverse_map(PHANTOM_NS, FLAG, late, 11)[:, 0].tolist() == [10, 11, 12, 13, 14]


def test_xfusions_rules_refuse_what_they_cannot_handle() -> None:
    with pytest.raises(CalibrationError, match=r"none of the 30 Phantom frames is flagged"):
        xfusion_forward_map(PHANTOM_NS, np.zeros(30, bool), SHIMADZU_NS)
    with pytest.raises(CalibrationError, match=r"Shimadzu frame 3 .* not later"):
        xfusion_reverse_map(PHANTOM_NS, FLAG, SHIMADZU_NS[[0, 1, 3, 2]])
    with pytest.raises(CalibrationError, match="no Shimadzu frame"):
        xfusion_forward_map(PHANTOM_NS, FLAG, SHIMADZU_NS[:0])
    assert xfusion_forward_map([5], [True], [1, 2]).shape == (0, 3)


def test_unflagged_frames_just_outside_the_burst_bracket_its_ends() -> None:
    hr_ns = 20_000.0 * np.arange(-3, 8)
    flag = (hr_ns > 0) & (hr_ns < 75_000)
    lr_ns = 1000.0 * np.arange(3, 80)
    found = match_frames(lr_ns, hr_ns, hr_event_flag=flag)
    assert found.outputs == len(lr_ns)
    assert hr_ns[found.unflagged_used].tolist() == [0.0, 80_000.0]
    # XFusion takes the first flagged frame for LR frame 0 and ends at the last flagged one.
    assert (found.xfusion_outputs, found.xfusion_pairs) == (40, 3)
    assert [(lr_ns[i], hr_ns[j]) for i, j in found.pairs] == [(t, t) for t in (2e4, 4e4, 6e4)]


def test_two_full_phantom_frames_bracket_nothing_at_five_megahertz() -> None:
    found = match_frames(200.0 * np.arange(128), [4_000.0, 17_158.0], hr_event_flag=[True, True])
    assert 0 < found.outputs < 128
    assert match_frames(200.0 * np.arange(128), []).outputs == 0
    assert match_frames([], [1.0]).outputs == 0


def test_frames_that_are_not_valid_are_not_used_and_may_have_no_time() -> None:
    found = match_frames(
        [0.0, np.nan, 20.0],
        [-5.0, np.nan, 10.0, 30.0],
        lr_valid=[True, False, True],
        hr_valid=[True, False, False, True],
    )
    assert found.before.tolist() == [0, NO_FRAME, 0]
    assert found.after.tolist() == [3, NO_FRAME, 3]
    assert found.bracketed.tolist() == [True, False, True]
    with pytest.raises(CalibrationError, match="time of LR frame 1 is not a number"):
        match_frames([0.0, np.nan], [1.0])
    with pytest.raises(CalibrationError, match=r"flags of shape \(1,\)"):
        match_frames([0.0], [1.0, 2.0], hr_valid=[True])


times = st.lists(st.integers(0, 200).map(float), max_size=25)


@given(times, times, st.randoms())
def test_a_match_is_what_looking_at_every_frame_gives(
    lr: list[float], hr: list[float], random: object
) -> None:
    found = match_frames(lr, hr, tolerance_ns=3)
    for i, t in enumerate(lr):
        earlier, later = [h for h in hr if h <= t], [h for h in hr if h > t]
        before, after = found.before[i], found.after[i]
        assert (hr[before] == max(earlier)) if earlier else before == NO_FRAME
        assert (hr[after] == min(later)) if later else after == NO_FRAME
    assert len(set(found.pairs[:, 0])) == len(set(found.pairs[:, 1])) == len(found.pairs)
    for i, j in found.pairs:
        distance = abs(lr[i] - hr[j])
        assert distance <= 3
        assert distance == min(abs(lr[i] - h) for h in hr) == min(abs(t - hr[j]) for t in lr)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=20),
    st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=2, max_size=15),
)
def test_our_rule_never_finds_fewer_frames_than_xfusions(
    lr_steps: list[int], hr_steps: list[tuple[int, bool]]
) -> None:
    lr_ns = np.cumsum(lr_steps).astype(float)
    hr_ns = np.cumsum([step for step, _ in hr_steps]).astype(float)
    flag = np.array([flagged for _, flagged in hr_steps])
    if not flag.any():
        return
    # On XFusion's own assumption, that the first frames of both coincide.
    hr_ns += lr_ns[0] - hr_ns[flag][0]
    found = match_frames(lr_ns, hr_ns, hr_event_flag=flag)
    assert found.outputs >= found.xfusion_outputs
    forward = xfusion_forward_map(hr_ns, flag, lr_ns)
    assert len(forward) == found.xfusion_outputs
    for i, first, second in forward:
        assert hr_ns[first] <= hr_ns[found.before[i]] <= lr_ns[i]
        assert lr_ns[i] < hr_ns[found.after[i]] <= hr_ns[second]
