"""Times of a burst's frames on one clock, and which frames a traversal makes of it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.fusion.arrays import Float64Array
from xfusion_bluesky.fusion.holdout import coincident_frames

__all__ = ["Traversal", "hr_times_ns", "lr_times_ns", "targets_of"]

Traversal = Literal["continuous", "double"]
"""Every LR frame is a target, or every HR frame at the time of an LR frame, held out."""


def targets_of(
    burst: Burst, calibration: CalibrationRecord | None, traversal: Traversal
) -> tuple[int, ...]:
    """Return the LR frames that a reconstruction makes, in order; reads no frame.

    Parameters
    ----------
    burst : Burst
        What is reconstructed.
    calibration : CalibrationRecord or None
        Of which the clocks count.
    traversal : {"continuous", "double"}
        How it is gone through.
    """
    if traversal == "continuous":
        return tuple(range(burst.shimadzu.shape[0]))
    held = coincident_frames(
        lr_times_ns(burst, calibration),
        hr_times_ns(burst),
        np.array(burst.shimadzu.valid, dtype=np.bool_),
        np.array(burst.phantom.valid, dtype=np.bool_),
    )
    return tuple(held)


def lr_times_ns(burst: Burst, calibration: CalibrationRecord | None) -> Float64Array:
    """Return the times of all LR frames of a burst on the clock of its HR frames.

    Parameters
    ----------
    burst : Burst
        Any.
    calibration : CalibrationRecord or None
        Without one, or without a temporal part, the clocks agree.

    Returns
    -------
    (n,) float64
        Mid-exposure, ns after T0.
    """
    times = _times(burst.shimadzu)
    if calibration is None or calibration.temporal is None:
        return times
    return calibration.temporal.common_time_ns(times)


def hr_times_ns(burst: Burst) -> Float64Array:
    """Return the times of all HR frames of a burst, mid-exposure, ns after T0, (n,) float64."""
    return _times(burst.phantom)


def _times(burst: CameraBurst) -> Float64Array:
    times = np.array(burst.time_ns, dtype=np.float64)
    known = np.flatnonzero(burst.valid)
    if known.size == len(times):
        return times
    # A padded frame has no time of its own; a sequence wants increasing ones.
    index = np.arange(len(times), dtype=np.float64)
    if known.size < 2:
        anchor = float(times[known[0]] - known[0]) if known.size else 0.0
        return index + anchor
    step = float(np.median(np.diff(times[known]) / np.diff(known)))
    filled = np.interp(index, known, times[known])
    filled += np.minimum(index - known[0], 0) * step + np.maximum(index - known[-1], 0) * step
    return filled
