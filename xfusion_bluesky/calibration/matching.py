"""Which HR frames surround, or coincide with, each LR frame; by our rule and by XFusion's.

XFusion uses only Phantom frames that saw the event input, and so loses every LR frame before the
first and after the last of them. The Phantom records all the time: un-flagged frames just outside
the burst serve as well, once both cameras' times are on one clock (`TemporalCalibration`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.fusion.arrays import BoolArray, Float64Array

__all__ = [
    "NO_FRAME",
    "FrameMatch",
    "brackets",
    "match_frames",
    "xfusion_forward_map",
    "xfusion_reverse_map",
]

IntArray = npt.NDArray[np.int64]

NO_FRAME = -1
"""Stands for a frame that does not exist."""

_TOLERANCE = 0.1
"""Largest time between the frames of a pair, as a share of the LR interval."""


@dataclass(frozen=True, eq=False)
class FrameMatch:
    """How the frames of one burst belong together.

    Parameters
    ----------
    before, after : (n_lr,) int64
        Last valid HR frame not later, and first valid one later, than each LR frame; `NO_FRAME`
        where there is none, or where the LR frame is not valid.
    pairs : (n_pairs, 2) int64
        (LR frame, HR frame) taken at one time, in order; no frame is in two pairs.
    pair_difference_ns : (n_pairs,) float64
        HR time minus LR time of each pair.
    bracketed : (n_lr,) bool
        Valid LR frames with an HR frame on both sides.
    unflagged_used : (n,) int64
        HR frames in `before` or `after` that XFusion would not use; empty without event flags.
    xfusion_outputs, xfusion_pairs : int
        LR frames in XFusion's forward map, pairs in its reverse map (10 ns); 0 without flags.
    """

    before: IntArray
    after: IntArray
    pairs: IntArray
    pair_difference_ns: Float64Array
    bracketed: BoolArray
    unflagged_used: IntArray
    xfusion_outputs: int
    xfusion_pairs: int

    @property
    def outputs(self) -> int:
        """LR frames with an HR frame on both sides."""
        return int(self.bracketed.sum())


def match_frames(
    lr_time_ns: npt.ArrayLike,
    hr_time_ns: npt.ArrayLike,
    *,
    hr_event_flag: npt.ArrayLike | None = None,
    lr_valid: npt.ArrayLike | None = None,
    hr_valid: npt.ArrayLike | None = None,
    tolerance_ns: float | None = None,
) -> FrameMatch:
    """Match the frames of one burst by time, using every valid HR frame, flagged or not.

    Parameters
    ----------
    lr_time_ns, hr_time_ns : (n_lr,), (n_hr,)
        Mid-exposure on one clock, ns, in any order; times of frames that are not valid are
        not looked at and may be NaN.
    hr_event_flag : (n_hr,) bool, optional
        Frames that saw the event input. They only serve to count what XFusion would do.
    lr_valid, hr_valid : bool arrays, optional
        False = missing or padded; default: all valid.
    tolerance_ns : float, optional
        Largest time difference of a pair; default: a tenth of the median LR interval.

    Raises
    ------
    CalibrationError
        A time of a valid frame is not a number, or a length does not fit.
    """
    lr_ns, lr_ok = _times("LR", lr_time_ns), _flags("LR", lr_valid, lr_time_ns)
    hr_ns, hr_ok = _times("HR", hr_time_ns), _flags("HR", hr_valid, hr_time_ns)
    lr_used, hr_used = _in_order("LR", lr_ns, lr_ok), _in_order("HR", hr_ns, hr_ok)
    before = np.full(len(lr_ns), NO_FRAME, dtype=np.int64)
    after = before.copy()
    before[lr_used], after[lr_used] = (
        _named(place, hr_used) for place in brackets(lr_ns[lr_used], hr_ns[hr_used])
    )
    if tolerance_ns is None:
        gaps_ns = np.diff(lr_ns[lr_used])
        tolerance_ns = _TOLERANCE * float(np.median(gaps_ns)) if gaps_ns.size else 0.0
    pairs = _coincident(lr_ns, hr_ns, lr_used, hr_used, tolerance_ns)
    unflagged = np.zeros(0, dtype=np.int64)
    outputs = partners = 0
    if hr_event_flag is not None:
        flag = _flags("HR", hr_event_flag, hr_time_ns)
        used = np.union1d(before, after)
        used = used[used != NO_FRAME]
        unflagged = used[~flag[used]]
        flagged = hr_used[flag[hr_used]]
        if flagged.size and lr_used.size:
            every = np.ones(len(flagged), dtype=np.bool_)
            outputs = len(xfusion_forward_map(hr_ns[flagged], every, lr_ns[lr_used]))
            partners = len(xfusion_reverse_map(hr_ns[flagged], every, lr_ns[lr_used]))
    return FrameMatch(
        before=before,
        after=after,
        pairs=pairs,
        pair_difference_ns=hr_ns[pairs[:, 1]] - lr_ns[pairs[:, 0]],
        bracketed=(before != NO_FRAME) & (after != NO_FRAME),
        unflagged_used=unflagged,
        xfusion_outputs=outputs,
        xfusion_pairs=partners,
    )


def brackets(lr_time_ns: npt.ArrayLike, hr_time_ns: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    """Return the last HR frame at or before, and the first strictly after, each LR frame.

    Parameters
    ----------
    lr_time_ns : (n_lr,)
        On the clock of the HR camera, ns.
    hr_time_ns : (n_hr,)
        Never decreasing, ns.

    Returns
    -------
    before, after : (n_lr,) int64
        `NO_FRAME` where there is none.
    """
    hr_ns = np.asarray(hr_time_ns)
    split = np.searchsorted(hr_ns, np.asarray(lr_time_ns), side="right").astype(np.int64)
    return split - 1, np.where(split < len(hr_ns), split, NO_FRAME)


def xfusion_forward_map(
    phantom_time_ns: npt.ArrayLike,
    phantom_event_flag: npt.ArrayLike,
    shimadzu_time_ns: npt.ArrayLike,
) -> IntArray:
    """XFusion's map from Shimadzu frames to the Phantom frames around them, rule by rule.

    Time zero of the Phantom is its first flagged frame, that of the Shimadzu its first frame.
    The map ends at the first Shimadzu frame not earlier than the last flagged Phantom frame.

    Parameters
    ----------
    phantom_time_ns, shimadzu_time_ns : (n,)
        Increasing; integers since the epoch keep their last digit.
    phantom_event_flag : (n_phantom,) bool
        Frames that saw the event input.

    Returns
    -------
    (n, 3) int64
        shimadzu_idx, phantom_idx1 (last flagged at or before), phantom_idx2 (first flagged
        after); indices count all frames of a camera.

    Raises
    ------
    CalibrationError
        No Phantom frame is flagged, there is no Shimadzu frame, or times do not increase.
    """
    frames, phantom_ns, shimadzu_ns = _xfusion_times(
        phantom_time_ns, phantom_event_flag, shimadzu_time_ns
    )
    count = int(np.argmax(np.append(shimadzu_ns >= phantom_ns[-1], True)))
    before, after = brackets(shimadzu_ns[:count], phantom_ns)
    return np.stack([np.arange(count), frames[before], frames[after]], axis=1).astype(np.int64)


def xfusion_reverse_map(
    phantom_time_ns: npt.ArrayLike,
    phantom_event_flag: npt.ArrayLike,
    shimadzu_time_ns: npt.ArrayLike,
    tolerance_ns: float = 10,
) -> IntArray:
    """XFusion's map from flagged Phantom frames to the Shimadzu frame of the same time.

    Parameters
    ----------
    phantom_time_ns, phantom_event_flag, shimadzu_time_ns
        As for `xfusion_forward_map`.
    tolerance_ns : float
        Largest time difference, itself included.

    Returns
    -------
    (n, 2) int64
        phantom_idx, shimadzu_idx (the nearest; of two as near, the first).

    Raises
    ------
    CalibrationError
        As `xfusion_forward_map`.
    """
    frames, phantom_ns, shimadzu_ns = _xfusion_times(
        phantom_time_ns, phantom_event_flag, shimadzu_time_ns
    )
    inside = (phantom_ns >= shimadzu_ns[0]) & (phantom_ns <= shimadzu_ns[-1])
    frames, phantom_ns = frames[inside], phantom_ns[inside]
    nearest = _nearest(phantom_ns, shimadzu_ns)
    kept = np.abs(shimadzu_ns[nearest] - phantom_ns) <= tolerance_ns
    return np.stack([frames[kept], nearest[kept]], axis=1).astype(np.int64)


def _xfusion_times(
    phantom_time_ns: npt.ArrayLike,
    phantom_event_flag: npt.ArrayLike,
    shimadzu_time_ns: npt.ArrayLike,
) -> tuple[IntArray, Float64Array, Float64Array]:
    flag = _flags("Phantom", phantom_event_flag, phantom_time_ns)
    frames = np.flatnonzero(flag).astype(np.int64)
    if not frames.size:
        raise CalibrationError(
            f"Time zero is unknown: none of the {len(flag)} Phantom frames is flagged E, which is "
            "how XFusion finds the Shimadzu's trigger. Check the cable into the Phantom's EVENT "
            "input, or match the frames by their times on one clock; the data are safe."
        )
    phantom_ns = _since_first("Phantom", np.asarray(phantom_time_ns)[frames])
    shimadzu_ns = _since_first("Shimadzu", np.asarray(shimadzu_time_ns))
    return frames, phantom_ns, shimadzu_ns


def _since_first(camera: str, time_ns: npt.NDArray[np.generic]) -> Float64Array:
    if not time_ns.size:
        raise CalibrationError(f"Frames cannot be matched: there is no {camera} frame.")
    # Nanoseconds since the epoch do not fit a float64: the difference comes first.
    since: Float64Array = (time_ns - time_ns[0]).astype(np.float64)
    wrong = np.flatnonzero(~(np.diff(since) > 0))
    if wrong.size:
        raise CalibrationError(
            f"XFusion's rules need increasing times, but {camera} frame {int(wrong[0]) + 1} of "
            "those it uses is not later than the one before. Look at the clock with "
            "examine_clock, and leave the frame out; the data are safe."
        )
    return since


def _coincident(
    lr_ns: Float64Array,
    hr_ns: Float64Array,
    lr_used: IntArray,
    hr_used: IntArray,
    tolerance_ns: float,
) -> IntArray:
    if not (lr_used.size and hr_used.size):
        return np.zeros((0, 2), dtype=np.int64)
    lr, hr = lr_ns[lr_used], hr_ns[hr_used]
    partner = _nearest(hr, lr)
    # A pair is one only if both choose each other: no frame is scored twice.
    mutual = _nearest(lr, hr)[partner] == np.arange(len(hr))
    kept = mutual & (np.abs(hr - lr[partner]) <= tolerance_ns)
    return np.stack([lr_used[partner[kept]], hr_used[kept]], axis=1)


def _nearest(wanted_ns: Float64Array, times_ns: Float64Array) -> IntArray:
    """Index of the nearest of `times_ns`, which never decrease; of two as near, the first."""
    right = np.clip(np.searchsorted(times_ns, wanted_ns), 0, len(times_ns) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(
        np.abs(wanted_ns - times_ns[left]) <= np.abs(times_ns[right] - wanted_ns), left, right
    )
    return np.searchsorted(times_ns, times_ns[nearest]).astype(np.int64)


def _named(place: IntArray, frames: IntArray) -> IntArray:
    if not frames.size:
        return np.full(len(place), NO_FRAME, dtype=np.int64)
    return np.where(place == NO_FRAME, NO_FRAME, frames[place])


def _in_order(camera: str, time_ns: Float64Array, valid: BoolArray) -> IntArray:
    frames = np.flatnonzero(valid)
    wrong = frames[~np.isfinite(time_ns[frames])]
    if wrong.size:
        raise CalibrationError(
            f"Frames cannot be matched: the time of {camera} frame {int(wrong[0])} is not a "
            "number, though the frame counts as valid. Mark it as missing; the data are safe."
        )
    return frames[np.argsort(time_ns[frames], kind="stable")].astype(np.int64)


def _times(camera: str, time_ns: npt.ArrayLike) -> Float64Array:
    times = np.asarray(time_ns, dtype=np.float64)
    if times.ndim != 1:
        raise CalibrationError(f"{camera} times must be one list, got shape {times.shape}.")
    return times


def _flags(camera: str, flags: npt.ArrayLike | None, time_ns: npt.ArrayLike) -> BoolArray:
    shape = np.shape(time_ns)
    given = np.ones(shape, dtype=np.bool_) if flags is None else np.asarray(flags, dtype=np.bool_)
    if given.shape != shape:
        raise CalibrationError(
            f"{camera} frames have {shape} times, but flags of shape {given.shape}."
        )
    return given
