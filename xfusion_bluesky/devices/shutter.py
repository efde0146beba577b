"""The beam shutter: open and close are commands, the position is read back."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO, Kind

from .faults import DeviceFault
from .waiting import put, read, wait_until
from .work import Work

MOVE_LIMIT_S = 10.0
_POSITIONS = ("Open", "Closed")


class Shutter(Device):
    """A shutter that takes ``"Open"`` or ``"Closed"`` from ``bluesky.plan_stubs.mv``.

    It is shut while the RunEngine pauses, and put back when it resumes.
    """

    open_command = Cpt(EpicsSignal, "Open", kind=Kind.omitted)
    close_command = Cpt(EpicsSignal, "Close", kind=Kind.omitted)
    readback = Cpt(EpicsSignalRO, "Status_RBV", string=True, kind=Kind.hinted)

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        kwargs.setdefault("labels", {"shutters"})
        super().__init__(prefix, name=name, **kwargs)
        self._move: Work | None = None
        self._goal: str | None = None
        self._reopen = False

    def set(self, position: str) -> DeviceStatus:
        """Move the shutter.

        Parameters
        ----------
        position : str
            ``"Open"`` or ``"Closed"``.

        Returns
        -------
        DeviceStatus
            Done when the readback agrees; fails within 10 s otherwise.
        """
        if position not in _POSITIONS:
            raise ValueError(f"A shutter is 'Open' or 'Closed', not {position!r}.")
        self._withdraw()
        status = DeviceStatus(self, timeout=2 * MOVE_LIMIT_S)
        self._goal = position
        self._move = Work(
            status, lambda stop: self._go(position, stop), name=f"{self.name}-{position}"
        )
        return status

    def pause(self) -> None:
        """Shut the beam off while nobody measures; the RunEngine calls this when it pauses."""
        try:
            self._withdraw()
            self._reopen = "Open" in (self._goal, read(self.readback))
            self._go("Closed")
        except DeviceFault as fault:
            # An error raised here would end the plan without its clean-up.
            self.log.error("Paused, but the beam may be on: %s", fault)

    def resume(self) -> None:
        """Put the shutter back to where it was when the RunEngine paused.

        Raises
        ------
        DeviceFault
            When it does not open; the RunEngine then stays paused.
        """
        if self._reopen:
            self._go("Open")

    def _withdraw(self) -> None:
        """End a move that is still under way: the last command wins."""
        if self._move is not None:
            self._move.end(withdrawn=True)

    def _go(self, position: str, stop: threading.Event | None = None) -> None:
        put(self.open_command if position == "Open" else self.close_command, 1, wait=False)
        wait_until(
            self.readback,
            lambda now: now == position,
            limit_s=MOVE_LIMIT_S,
            what=f"Moving the shutter to {position}",
            stop=stop,
        )
        self._goal = None
