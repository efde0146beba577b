"""The beam shutter: open and close are commands, the position is read back."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO, Kind

from .faults import DeviceFault
from .waiting import put, wait_until

MOVE_LIMIT_S = 10.0


class Shutter(Device):
    """A shutter that takes ``"Open"`` or ``"Closed"`` from ``bluesky.plan_stubs.mv``."""

    open_command = Cpt(EpicsSignal, "Open", kind=Kind.omitted)
    close_command = Cpt(EpicsSignal, "Close", kind=Kind.omitted)
    readback = Cpt(EpicsSignalRO, "Status_RBV", string=True, kind=Kind.hinted)

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        kwargs.setdefault("labels", {"shutters"})
        super().__init__(prefix, name=name, **kwargs)

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
        if position not in ("Open", "Closed"):
            raise ValueError(f"A shutter is 'Open' or 'Closed', not {position!r}.")
        status = DeviceStatus(self, timeout=2 * MOVE_LIMIT_S)

        def move() -> None:
            try:
                command = self.open_command if position == "Open" else self.close_command
                put(command, 1, wait=False)
                wait_until(
                    self.readback,
                    lambda now: now == position,
                    limit_s=MOVE_LIMIT_S,
                    what=f"Moving the shutter to {position}",
                )
            except DeviceFault as fault:
                status.set_exception(fault)
            else:
                status.set_finished()

        threading.Thread(target=move, name=f"{self.name}-{position}", daemon=True).start()
        return status
