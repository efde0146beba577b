"""What one camera's frame times say about its clock: rate, and everything that is wrong."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.quantised_line import Line, fit_line
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = ["ClockFinding", "FindingKind", "FrameClock", "examine_clock"]

IntArray = npt.NDArray[np.int64]

FindingKind = Literal[
    "not-a-number", "stuck", "duplicate", "reordered", "gap", "jump", "stray", "rate"
]

_WORDS: dict[FindingKind, str] = {
    "not-a-number": "frame {frame} has no time",
    "stuck": "the clock stands still for {count} frames, from frame {frame} on",
    "duplicate": "frame {frame} has the time of a frame before it",
    "reordered": "frames out of order from frame {frame} on: {count}",
    "gap": "frames lost before frame {frame}: {count}",
    "jump": "the clock jumps by {step_ns:+.0f} ns at frame {frame}",
    "stray": "the time of frame {frame} alone is off by {step_ns:+.0f} ns",
    "rate": "frames are {step_ns:+.3f} ns further apart than the settings say",
}

_MAD_TO_SIGMA = 1.4826
_FEWEST = 3
_FREE_SLOT = 0.75
"""Share of an interval that a frame out of order keeps to its neighbours in time."""


@dataclass(frozen=True)
class ClockFinding:
    """Something wrong with frame times.

    Parameters
    ----------
    kind : FindingKind
    frame : int
        Index of the frame at which it shows.
    count : int
        Frames concerned, or missing.
    step_ns : float
        Size of a jump, a stray time, or of the deviation from the nominal interval.
    """

    kind: FindingKind
    frame: int
    count: int = 1
    step_ns: float = 0.0

    def __str__(self) -> str:
        return _WORDS[self.kind].format(frame=self.frame, count=self.count, step_ns=self.step_ns)


@dataclass(frozen=True, eq=False)
class FrameClock:
    """Frame times as ``start_ns + k * interval_ns``, and what does not fit.

    Parameters
    ----------
    start_ns, start_sigma_ns : float
        Time of the first frame that counts.
    interval_ns, interval_sigma_ns : float
        By the camera's own clock.
    nominal_interval_ns : float
        As set.
    residual_rms_ns : float
        Of the frames that count.
    slot : (n,) int64
        Number k of each frame, lost frames counted; -1 for a frame whose time means nothing.
    good : (n,) bool
        Frames whose time agrees with the line, or with its piece after a jump.
    findings : tuple of ClockFinding
        In order of frames; empty for a clock in order.
    """

    start_ns: float
    start_sigma_ns: float
    interval_ns: float
    interval_sigma_ns: float
    nominal_interval_ns: float
    residual_rms_ns: float
    slot: npt.NDArray[np.int64]
    good: BoolArray
    findings: tuple[ClockFinding, ...]

    @property
    def drift_ns_per_frame(self) -> float:
        """Interval minus nominal interval."""
        return self.interval_ns - self.nominal_interval_ns

    @property
    def missing_frames(self) -> int:
        """Frames that the camera lost between the first and the last."""
        return sum(each.count for each in self.findings if each.kind == "gap")


def examine_clock(
    time_ns: npt.ArrayLike, *, nominal_interval_ns: float, quantum_ns: float = 10.0
) -> FrameClock:
    """Fit the interval of a camera and find gaps, duplicates, reordered frames and jumps.

    Parameters
    ----------
    time_ns : (n,)
        Frame times in the order of the file; integers since the epoch keep their last digit.
    nominal_interval_ns : float
        Frame interval as set.
    quantum_ns : float
        Step of the camera's clock.

    Returns
    -------
    FrameClock

    Raises
    ------
    CalibrationError
        Fewer than three frames have times of their own, or they do not follow each other by
        roughly the nominal interval.
    """
    if not nominal_interval_ns > 0:
        raise CalibrationError(f"A frame interval of {nominal_interval_ns} ns makes no sense.")
    times, origin_ns = _since_first(np.asarray(time_ns))
    findings = [ClockFinding("not-a-number", int(k)) for k in np.flatnonzero(~np.isfinite(times))]
    frames, repeats = _without_repeats(times, min(quantum_ns, nominal_interval_ns / 4))
    frames, misplaced = _in_order(times, frames, nominal_interval_ns, quantum_ns)
    findings += repeats + misplaced
    if len(frames) < _FEWEST:
        raise CalibrationError(
            f"The clock cannot be examined: of {len(times)} frames only {len(frames)} have a time "
            "of their own. Is the camera's time stamp switched on? The data are safe."
        )
    steps = _classify(times, frames, nominal_interval_ns, quantum_ns)
    findings += _step_findings(steps, frames, times)
    line = steps.line
    deviation_ns = line.slope - nominal_interval_ns
    if abs(deviation_ns) > max(5 * line.slope_sigma, quantum_ns):
        findings.append(ClockFinding("rate", 0, len(times), deviation_ns))
    slot = np.full(len(times), -1, dtype=np.int64)
    slot[frames] = steps.slot
    good = slot >= 0
    good[frames[steps.stray]] = False
    return FrameClock(
        start_ns=origin_ns + line.starts[0],
        start_sigma_ns=line.start_sigma,
        interval_ns=line.slope,
        interval_sigma_ns=line.slope_sigma,
        nominal_interval_ns=nominal_interval_ns,
        residual_rms_ns=line.residual_rms,
        slot=slot,
        good=good,
        findings=tuple(sorted(findings, key=lambda each: each.frame)),
    )


@dataclass(frozen=True, eq=False)
class _Steps:
    """From each frame to the next: how many intervals, and how much more or less than that."""

    slots: IntArray
    off_ns: Float64Array
    jump: BoolArray
    stray: BoolArray
    """Of frames, not steps."""
    slot: IntArray
    """Of frames."""
    line: Line


def _classify(
    times: Float64Array, frames: IntArray, nominal_ns: float, quantum_ns: float
) -> _Steps:
    steps_ns = np.diff(times[frames])
    usual_ns = steps_ns[np.abs(steps_ns - nominal_ns) < nominal_ns / 2]
    if usual_ns.size < _FEWEST - 1:
        raise CalibrationError(
            f"The clock cannot be examined: frames do not follow each other by {nominal_ns:g} ns, "
            f"the median step is {np.median(steps_ns):g} ns. Is that the interval that was set? "
            "The data are safe."
        )
    median_ns = float(np.median(usual_ns))
    jitter_ns = max(float(np.median(np.abs(usual_ns - median_ns))) - quantum_ns / 2, 0.0)
    tolerance_ns = max(1.5 * quantum_ns, 6 * _MAD_TO_SIGMA * jitter_ns)
    near_ns = usual_ns[np.abs(usual_ns - median_ns) <= tolerance_ns]
    interval_ns, doubt_ns = float(near_ns.mean()), quantum_ns / near_ns.size
    for _ in range(2):  # the second time with an interval good enough for long gaps
        slots = np.maximum(np.rint(steps_ns / interval_ns), 1).astype(np.int64)
        off_ns = steps_ns - slots * interval_ns
        broken = np.abs(off_ns) > np.minimum(tolerance_ns + slots * doubt_ns, interval_ns / 3)
        slots[broken] = 1  # nobody can tell how many frames a jump hides
        off_ns = steps_ns - slots * interval_ns
        stray = np.zeros(len(frames), dtype=np.bool_)
        # Off by as much in one step as back in the next: one bad stamp, not two jumps.
        stray[1:-1] = broken[:-1] & broken[1:] & (np.abs(off_ns[:-1] + off_ns[1:]) <= tolerance_ns)
        stray[1:] &= ~stray[:-1]
        jump = broken & ~stray[1:] & ~stray[:-1]
        slot = np.concatenate([[0], np.cumsum(slots)])
        piece = np.concatenate([[0], np.cumsum(jump)])
        sound = [(piece == p) & ~stray for p in range(int(piece[-1]) + 1)]
        pieces = [(slot[s].astype(np.float64), times[frames[s]]) for s in sound if s.any()]
        line = fit_line(pieces, quantum_ns)
        interval_ns, doubt_ns = line.slope, 3 * line.slope_sigma
    return _Steps(slots, off_ns, jump, stray, slot, line)


def _step_findings(steps: _Steps, frames: IntArray, times: Float64Array) -> list[ClockFinding]:
    findings = []
    unused = np.cumsum(~np.isin(np.arange(len(times)), frames))
    for k in np.flatnonzero(steps.slots > 1):
        # A frame without a time of its own fills a slot all the same.
        filled = max(int(unused[frames[k + 1]] - unused[frames[k]]), 0)
        if (missing := int(steps.slots[k]) - 1 - filled) > 0:
            findings.append(ClockFinding("gap", int(frames[k + 1]), missing))
    for k in np.flatnonzero(steps.jump):
        findings.append(ClockFinding("jump", int(frames[k + 1]), 1, float(steps.off_ns[k])))
    for k in np.flatnonzero(steps.stray):
        findings.append(ClockFinding("stray", int(frames[k]), 1, float(steps.off_ns[k - 1])))
    return findings


def _without_repeats(times: Float64Array, same_ns: float) -> tuple[IntArray, list[ClockFinding]]:
    """Leave out frames without a time, and those with the time of the frame before."""
    frames = np.flatnonzero(np.isfinite(times))
    repeated = np.concatenate([[False], np.abs(np.diff(times[frames])) <= same_ns])
    findings = [
        ClockFinding("duplicate" if len(run) == 1 else "stuck", int(frames[run[0]]), len(run))
        for run in _runs(np.flatnonzero(repeated[: len(frames)]))
    ]
    return frames[~repeated[: len(frames)]], findings


def _in_order(
    times: Float64Array, frames: IntArray, nominal_ns: float, quantum_ns: float
) -> tuple[IntArray, list[ClockFinding]]:
    """Move frames that are only out of order to where they belong, and drop second copies.

    A frame that neither fills a gap nor repeats another one stays: the clock has jumped.
    """
    t = times[frames]
    order = np.argsort(t, kind="stable")
    ahead_ns = np.diff(t[order], append=np.inf)
    behind_ns = np.diff(t[order], prepend=-np.inf)
    free_ns = np.empty_like(t)
    free_ns[order] = np.minimum(ahead_ns, behind_ns)
    displaced = _displaced(t)
    copies = displaced[free_ns[displaced] <= quantum_ns]
    moved = displaced[free_ns[displaced] >= _FREE_SLOT * nominal_ns]
    findings = [ClockFinding("duplicate", int(frames[k])) for k in copies]
    findings += [ClockFinding("reordered", int(frames[run[0]]), len(run)) for run in _runs(moved)]
    staying = np.setdiff1d(np.arange(len(t)), np.concatenate([copies, moved]))
    place = np.searchsorted(t[staying], t[moved]) if np.all(np.diff(t[staying]) > 0) else None
    if place is None:  # a clock that jumps back has no one place for them
        return frames[np.setdiff1d(np.arange(len(t)), copies)], findings
    by_time = np.argsort(t[moved], kind="stable")
    return frames[np.insert(staying, place[by_time], moved[by_time])], findings


def _displaced(t: Float64Array) -> IntArray:
    """Return the fewest elements without which `t` increases (later ones where it is a tie)."""
    tails: list[float] = []
    tail_at: list[int] = []
    previous = np.full(len(t), -1)
    for k in range(len(t) - 1, -1, -1):
        length = bisect_left(tails, -t[k])
        previous[k] = tail_at[length - 1] if length else -1
        tails[length : length + 1] = [-float(t[k])]
        tail_at[length : length + 1] = [k]
    kept = []
    k = tail_at[-1] if tail_at else -1
    while k >= 0:
        kept.append(k)
        k = int(previous[k])
    return np.setdiff1d(np.arange(len(t)), kept)


def _runs(index: IntArray) -> list[IntArray]:
    """Split indices where they do not follow each other."""
    if not index.size:
        return []
    return np.split(index, np.flatnonzero(np.diff(index) > 1) + 1)


def _since_first(time_ns: npt.NDArray[np.generic]) -> tuple[Float64Array, float]:
    if time_ns.ndim != 1 or not time_ns.size:
        raise CalibrationError(f"A clock needs a list of times, got shape {time_ns.shape}.")
    first = time_ns[np.flatnonzero(np.isfinite(time_ns))[:1]]
    if not first.size:
        raise CalibrationError(f"The clock cannot be examined: no frame of {len(time_ns)} has one.")
    # Nanoseconds since the epoch do not fit a float64: the difference comes first.
    return (time_ns - first[0]).astype(np.float64), float(first[0])
