"""What one look at an installation found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Parameters
    ----------
    subject : str
        What was looked at.
    state : State
        How it is.
    found : str
        What was found, one line.
    action : str
        What to do, one line; "" when nothing is to be done.
    """

    subject: str
    state: State
    found: str
    action: str = ""

    def __post_init__(self) -> None:
        # Words of other programs come in here, and they may have many lines.
        for name in ("found", "action"):
            object.__setattr__(self, name, " ".join(getattr(self, name).split()))


def ok(subject: str, found: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(subject, State.OK, found)


def warn(subject: str, found: str, action: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(subject, State.WARN, found, action)


def fail(subject: str, found: str, action: str) -> Finding:
    """Return a finding that keeps the installation from doing its work."""
    return Finding(subject, State.FAIL, found, action)


def age(since_s: float) -> str:
    """Return how long ago a time (s since 1970) was, in words."""
    seconds = max(0.0, time.time() - since_s)
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
