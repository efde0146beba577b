"""Errors of devices, in the words an operator needs at 3 a.m."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DeviceFault(RuntimeError):
    """A device did not do what it was asked.

    Parameters
    ----------
    what : str
        What failed.
    where : str
        Device or PV.
    why : str
        Why we think so.
    action : str
        What to do.
    data : str
        Whether the data are safe.
    """

    def __init__(self, what: str, *, where: str, why: str, action: str, data: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.action = action
        self.data = data

    @property
    def finding(self) -> str:
        """What failed, where and why, for use inside another error."""
        return f"{self.what} [{self.where}]: {self.why}"

    def __str__(self) -> str:
        return f"{self.finding}. What to do: {self.action}. Data: {self.data}."


class Interrupted(DeviceFault):
    """A wait was ended on purpose, by an abort or by unstaging."""

    def __init__(self, where: str) -> None:
        super().__init__(
            "Acquisition interrupted",
            where=where,
            why="the plan was stopped or the device unstaged",
            action="run the plan again when ready",
            data="a burst already recorded stays in camera memory",
        )


@contextmanager
def data_are(data: str) -> Iterator[None]:
    """Let every fault inside say where the data are: a signal alone cannot know it.

    Parameters
    ----------
    data : str
        Whether the data are safe while this part of the work is done.
    """
    try:
        yield
    except DeviceFault as fault:
        fault.data = data
        raise
