"""One line of a preflight: what was looked at, how it is, why, and what would work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "Severity", "rate", "span"]


class Severity(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True)
class Check:
    """What a preflight says of one thing.

    Parameters
    ----------
    subject : str
        What was looked at.
    severity : Severity
        ``stop``: the burst would be worth nothing, or fail.
    found : str
        What was found, with numbers.
    why : str
        Why that matters; "" when it is as it should be.
    nearest : str
        The nearest settings that work; "" when nothing is to be changed.
    """

    subject: str
    severity: Severity
    found: str
    why: str = ""
    nearest: str = ""


def span(time_ns: float) -> str:
    """Return a time in words: ``200 ns``, ``25.6 us``, ``3.9 s``."""
    for unit_ns, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if abs(time_ns) >= unit_ns:
            return f"{time_ns / unit_ns:.4g} {unit}"
    return f"{time_ns:.4g} ns"


def rate(period_ns: float) -> str:
    """Return a frame rate in words: ``76 kfps``, ``1.52 Mfps``."""
    per_second = 1e9 / period_ns
    for unit, name in ((1e6, "Mfps"), (1e3, "kfps")):
        if per_second >= unit:
            return f"{per_second / unit:.3g} {name}"
    return f"{per_second:.3g} fps"
