"""Plans an operator runs."""

from .acquisition import dark_flat, dual_burst

__all__ = ["dark_flat", "dual_burst"]
