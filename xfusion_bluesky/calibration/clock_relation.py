"""How two clocks run against each other, from what both of them saw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.quantised_line import fit_line
from xfusion_bluesky.calibration.record import TemporalCalibration

__all__ = ["event_window_ns", "relative_clock"]

_SAFE = 100.0
"""What stamps of one instant are worth as `TemporalCalibration.ambiguity`: nothing is guessed."""


def relative_clock(
    lr_time_ns: npt.ArrayLike, hr_time_ns: npt.ArrayLike, *, quantum_ns: float = 10.0
) -> TemporalCalibration:
    """Offset and rate of two clocks from instants that both have stamped.

    Such instants are flagged HR frames at known LR frames of cameras that are triggered
    together, or pulses on both event inputs.

    Parameters
    ----------
    lr_time_ns, hr_time_ns : (n,)
        The same instants by the clocks of the two cameras, ns after T0.
    quantum_ns : float
        Step of both clocks.

    Returns
    -------
    TemporalCalibration
        With method "timestamps". The rate needs instants far apart: 10 ns over the 128 us of a
        burst are 78 ppm.

    Raises
    ------
    CalibrationError
        Fewer than two instants, or times that are no numbers.
    """
    lr_ns = np.asarray(lr_time_ns, dtype=np.float64)
    difference_ns = np.asarray(hr_time_ns, dtype=np.float64) - lr_ns
    if lr_ns.ndim != 1 or difference_ns.shape != lr_ns.shape or len(np.unique(lr_ns)) < 2:
        raise CalibrationError(
            f"Two clocks cannot be compared by {lr_ns.size} common instants: at least two are "
            "needed, at different times. Take more flagged frames, or fit the beam's flicker."
        )
    if not (np.isfinite(lr_ns).all() and np.isfinite(difference_ns).all()):
        raise CalibrationError("A common instant of the two clocks has a time that is no number.")
    order = np.argsort(lr_ns, kind="stable")
    line = fit_line([(lr_ns[order], difference_ns[order])], 2 * quantum_ns)
    return TemporalCalibration(
        offset_ns=line.starts[0],
        offset_sigma_ns=line.start_sigma,
        drift_ppm=1e6 * line.slope,
        drift_sigma_ppm=1e6 * line.slope_sigma,
        method="timestamps",
        samples=len(lr_ns),
        ambiguity=_SAFE,
    )


def event_window_ns(
    lr_begin_ns: float,
    lr_end_ns: float,
    hr_time_ns: npt.ArrayLike,
    hr_event_flag: npt.ArrayLike,
    hr_exposure_ns: float,
) -> tuple[float, float]:
    """Between which offsets the clocks must lie, from the flagged HR frames of one burst.

    The event input is high while the LR camera records. The first flagged frame says when that
    began, to an HR interval; so does the last for the end. It is where to search for the offset.

    Parameters
    ----------
    lr_begin_ns, lr_end_ns : float
        Begin and end of the recording by the LR camera's clock.
    hr_time_ns : (n,)
        Mid-exposure by the HR camera's clock, increasing.
    hr_event_flag : (n,) bool
        Frames that saw the event input.
    hr_exposure_ns : float
        When in its exposure a frame looks at the input is not known.

    Returns
    -------
    lowest, highest : float
        What to add to LR times to get HR times, ns.

    Raises
    ------
    CalibrationError
        No frame is flagged, or begin and end contradict each other.
    """
    time_ns, flag = np.asarray(hr_time_ns, dtype=np.float64), np.asarray(hr_event_flag, dtype=bool)
    flagged = np.flatnonzero(flag)
    if not flagged.size:
        raise CalibrationError(
            f"The event flags say nothing about the clocks: none of the {len(flag)} HR frames is "
            "flagged. Check the cable into the EVENT input of the HR camera; the data are safe."
        )
    first, last = int(flagged[0]), int(flagged[-1])
    half_ns = hr_exposure_ns / 2
    highest = time_ns[first] + half_ns - lr_begin_ns
    lowest = time_ns[last] - half_ns - lr_end_ns
    if first > 0:
        lowest = max(lowest, time_ns[first - 1] - half_ns - lr_begin_ns)
    if last < len(flag) - 1:
        highest = min(highest, time_ns[last + 1] + half_ns - lr_end_ns)
    if lowest > highest:
        raise CalibrationError(
            f"The event flags contradict the LR recording of {lr_end_ns - lr_begin_ns:g} ns: HR "
            f"frames {first} to {last} are flagged, over "
            f"{time_ns[last] - time_ns[first]:g} ns. Is the event input driven by the LR "
            "camera's recording signal? The data are safe."
        )
    return float(lowest), float(highest)
