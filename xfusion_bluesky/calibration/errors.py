"""What goes wrong when two cameras are calibrated."""

from __future__ import annotations

__all__ = ["CalibrationError", "CalibrationMismatch"]


class CalibrationError(ValueError):
    """The images or times do not support a calibration.

    The message says what failed, in which camera and view, why we think so, and what to do.
    """


class CalibrationMismatch(CalibrationError):
    """A calibration record does not belong to the frames it is asked to be used with."""
