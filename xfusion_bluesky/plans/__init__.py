"""Plans an operator runs."""

from .acquisition import dark_flat, dual_burst
from .calibration import calibrate, grid_calibration_scan
from .preflight import preflight
from .recovery import make_safe, recover
from .registration import check_registration

__all__ = [
    "calibrate",
    "check_registration",
    "dark_flat",
    "dual_burst",
    "grid_calibration_scan",
    "make_safe",
    "preflight",
    "recover",
]
