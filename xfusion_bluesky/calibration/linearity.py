"""Whether a camera's counts grow in proportion to the exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.calibration.errors import CalibrationError

__all__ = ["Linearity", "linearity"]

_FEWEST_LEVELS = 3


@dataclass(frozen=True)
class Linearity:
    """A straight line through light levels: ``counts = slope exposure + intercept``.

    Parameters
    ----------
    slope, intercept : float
        Counts a nanosecond, and counts: a camera may expose a little longer than it is told.
    error : float
        Largest distance of a level from the line, as a share of the brightest level.
    """

    slope: float
    intercept: float
    error: float


def linearity(levels: Sequence[tuple[float, float]], what: str = "camera") -> Linearity:
    """Compare counts with exposures, for a beam that does not change meanwhile.

    Parameters
    ----------
    levels : sequence of (exposure_ns, counts)
        Three or more; counts above the dark.
    what : str
        Names the camera in errors.

    Raises
    ------
    CalibrationError
        There are too few different exposures, or there is no light.
    """
    exposure_ns, counts = np.array(levels, dtype=np.float64).reshape(-1, 2).T
    if np.unique(exposure_ns).size < _FEWEST_LEVELS or not counts.max(initial=0) > 0:
        raise CalibrationError(
            f"No linearity of the {what}: {len(levels)} levels with "
            f"{np.unique(exposure_ns).size} different exposures. Take flats at three or more "
            "exposures; the data are safe."
        )
    slope, intercept = np.polyfit(exposure_ns, counts, 1)
    deviation = np.abs(counts - slope * exposure_ns - intercept).max()
    return Linearity(float(slope), float(intercept), float(deviation / counts.max()))
