from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfusion_bluesky.calibration.clock_relation import event_window_ns, relative_clock
from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.frame_clock import FrameClock, examine_clock

Array = npt.NDArray[np.float64]
TRUE_NS = 886.0
GOOD = np.rint(TRUE_NS * np.arange(60) / 10) * 10


def _clock(time_ns: npt.ArrayLike) -> FrameClock:
    return examine_clock(time_ns, nominal_interval_ns=890)


def _found(clock: FrameClock) -> list[tuple[str, int, int]]:
    return [(each.kind, each.frame, each.count) for each in clock.findings]


def test_drift_is_known_to_a_tenth_of_a_nanosecond_a_frame_over_a_burst() -> None:
    rng = np.random.default_rng(1)
    for scale in [5.0, 0.05] * 40:
        interval_ns = 890 + rng.uniform(-scale, scale)
        true_ns = rng.uniform(0, 10) + interval_ns * np.arange(128)
        clock = _clock(np.rint(true_ns / 10) * 10)
        assert abs(clock.drift_ns_per_frame - (interval_ns - 890)) < 0.1
        error_ns = abs(clock.interval_ns - interval_ns)
        assert error_ns <= np.sqrt(3) * clock.interval_sigma_ns + 1e-6
        assert not clock.findings


def test_a_clock_in_order_has_no_findings_whatever_its_zero() -> None:
    plain = _clock(GOOD)
    since_epoch = _clock(1_700_000_000_123_456_780 + GOOD.astype(np.int64))
    assert plain.findings == since_epoch.findings == ()
    assert since_epoch.interval_ns == plain.interval_ns == pytest.approx(TRUE_NS, abs=0.1)
    assert plain.good.all()
    assert plain.start_ns == pytest.approx(0, abs=3 * plain.start_sigma_ns + 5)
    assert plain.slot.tolist() == list(range(60))


def test_noise_above_the_quantum_is_averaged() -> None:
    rng = np.random.default_rng(2)
    errors = []
    for _ in range(20):
        clock = _clock(890.0 * np.arange(128) + rng.normal(0, 30, 128))
        assert not clock.findings
        errors.append((clock.interval_ns - 890) / clock.interval_sigma_ns)
    assert 0.6 < np.std(errors) < 1.6


def test_each_fault_is_found_where_it_is() -> None:
    lost = _clock(np.delete(GOOD, [10, 11, 30]))
    assert _found(lost) == [("gap", 10, 2), ("gap", 28, 1)]
    assert lost.missing_frames == 3
    assert lost.slot[-1] == 59

    missing = GOOD.copy()
    missing[[5, 6]] = np.nan
    assert _found(_clock(missing)) == [("not-a-number", 5, 1), ("not-a-number", 6, 1)]

    swapped = GOOD.copy()
    swapped[[7, 8]] = swapped[[8, 7]]
    reordered = _clock(swapped)
    assert _found(reordered) == [("reordered", 8, 1)]
    assert reordered.slot[[7, 8]].tolist() == [8, 7]
    assert _found(_clock(np.roll(GOOD, 10))) == [("reordered", 0, 10)]

    assert _found(_clock(np.insert(GOOD, 9, GOOD[8]))) == [("duplicate", 9, 1)]
    assert _found(_clock(np.insert(GOOD, 12, GOOD[8]))) == [("duplicate", 12, 1)]

    stuck = GOOD.copy()
    stuck[20:24] = stuck[20]
    assert _found(_clock(stuck)) == [("stuck", 21, 3)]


@pytest.mark.parametrize("step_ns", [350.0, -350.0, -2230.0])
def test_a_clock_that_jumps_is_told_from_one_bad_stamp(step_ns: float) -> None:
    jumped = GOOD.copy()
    jumped[20:] += step_ns
    clock = _clock(jumped)
    assert _found(clock) == [("jump", 20, 1)]
    assert clock.findings[0].step_ns == pytest.approx(step_ns, abs=10)
    assert clock.interval_ns == pytest.approx(TRUE_NS, abs=0.1)
    assert f"{clock.findings[0].step_ns:+.0f} ns at frame 20" in str(clock.findings[0])

    bad = GOOD.copy()
    bad[20] += step_ns
    clock = _clock(bad)
    assert _found(clock) == [("stray", 20, 1)]
    assert np.flatnonzero(~clock.good).tolist() == [20]


def test_several_faults_at_once_and_a_long_gap() -> None:
    several = np.delete(GOOD, 15)
    several[25:] += 410
    several[3] = np.nan
    assert _found(_clock(several)) == [("not-a-number", 3, 1), ("gap", 15, 1), ("jump", 25, 1)]
    long_ns = np.rint(889.93 * np.arange(20_000) / 10) * 10
    assert _found(_clock(np.delete(long_ns, slice(4000, 9000)))) == [("gap", 4000, 5000)]


def test_a_rate_other_than_the_one_set_is_said() -> None:
    clock = _clock(905.0 * np.arange(60))
    assert _found(clock) == [("rate", 0, 60)]
    assert "+15.000 ns further apart" in str(clock.findings[0])


@pytest.mark.parametrize(
    ("time_ns", "words"),
    [
        (GOOD[:2], "only 2 have a time"),
        (np.zeros(50), "only 1 have a time"),
        (np.full(5, np.nan), "no frame of 5"),
        (2000.0 * np.arange(50), "median step is 2000 ns"),
        ([[1.0]], "list of times"),
    ],
)
def test_times_that_are_no_clock_are_refused(time_ns: npt.ArrayLike, words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        _clock(time_ns)
    with pytest.raises(CalibrationError, match="makes no sense"):
        examine_clock(GOOD, nominal_interval_ns=0)


@given(st.sets(st.integers(2, 57), max_size=20))
def test_lost_frames_are_counted_wherever_they_are(lost: set[int]) -> None:
    kept = np.setdiff1d(np.arange(60), list(lost))
    steps = np.diff(kept)
    if (steps == 1).sum() < 10:
        return
    clock = _clock(GOOD[kept])
    assert {each.kind for each in clock.findings} <= {"gap"}
    assert clock.slot.tolist() == kept.tolist()
    assert clock.missing_frames == len(lost)


def test_common_instants_give_offset_and_rate_of_two_clocks() -> None:
    lr_ns = 2e6 * np.arange(12)
    hr_ns = lr_ns + 131.0 + 2e-6 * lr_ns
    found = relative_clock(*(np.rint(t / 10) * 10 for t in (lr_ns, hr_ns)))
    assert found.drift_ppm == pytest.approx(2.0, abs=2 * found.drift_sigma_ppm)
    assert found.drift_sigma_ppm < 0.5
    assert found.offset_ns == pytest.approx(131.0, abs=2 * found.offset_sigma_ns)
    assert found.offset_sigma_ns < 10
    assert found.common_time_ns(lr_ns)[-1] == pytest.approx(hr_ns[-1], abs=10)
    with pytest.raises(CalibrationError, match="1 common instants"):
        relative_clock([1.0], [2.0])


def test_event_flags_bound_the_offset_to_an_hr_interval() -> None:
    hr_ns = 20_000.0 * np.arange(-5, 12) + 250
    for offset_ns in (-7_000.0, 0.0, 133.0, 9_000.0):
        begin_ns, end_ns = 0.0 + offset_ns, 81_000.0 + offset_ns
        flag = (hr_ns - 250 < end_ns) & (hr_ns + 250 > begin_ns)
        low_ns, high_ns = event_window_ns(0.0, 81_000.0, hr_ns, flag, 500.0)
        assert low_ns <= offset_ns <= high_ns
        assert high_ns - low_ns < 21_001
    with pytest.raises(CalibrationError, match="none of the 17"):
        event_window_ns(0, 81_000, hr_ns, np.zeros(17), 500)
    with pytest.raises(CalibrationError, match="contradict"):
        event_window_ns(0, 81_000, hr_ns, np.ones(17), 500)
