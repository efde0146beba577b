"""Plans an operator runs."""

from .acquisition import dark_flat, dual_burst
from .recovery import make_safe, recover

__all__ = ["dark_flat", "dual_burst", "make_safe", "recover"]
