"""Stages are moved, found where they were sent, and put back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import bluesky.plan_stubs as bps
from ophyd import EpicsMotor

from ..devices.faults import DeviceFault
from .safety import Plan

POSITION_TOLERANCE = 0.1
MOVE_LIMIT_S = 300.0


def move(motor: EpicsMotor, position: float) -> Plan:
    """Move a motor and make sure that it got there.

    Parameters
    ----------
    motor : EpicsMotor
        In mm or degrees.
    position : float
        In the motor's units.

    Raises
    ------
    DeviceFault
        When it is elsewhere, by more than 0.1, after it has come to rest.
    """
    # A motor that was stopped on its way also says "done", and one whose IOC died says nothing; a
    # flat with the sample in is no flat.
    with suppress(TimeoutError):
        yield from bps.mv(motor, position, timeout=MOVE_LIMIT_S)
    reached = yield from bps.rd(motor)
    if abs(reached - position) > POSITION_TOLERANCE:
        raise DeviceFault(
            f"The stage {motor.name} is not where it was sent",
            where=motor.prefix,
            why=f"it is at {reached:g} instead of {position:g} {motor.egu}",
            action="look for a stop or a limit at the stage, then run the plan again",
            data="runs taken so far are safe",
        )


class Places:
    """Where stages were before a plan, to put them back whatever happens.

    Parameters
    ----------
    motors : sequence of EpicsMotor
        Put back in reverse order.
    """

    def __init__(self, motors: Sequence[EpicsMotor]) -> None:
        self._motors = motors
        self._positions: list[tuple[EpicsMotor, float]] = []

    def remember(self) -> Plan:
        """Read where the stages are; connect them first."""
        for motor in self._motors:
            self._positions.append((motor, (yield from bps.rd(motor))))

    def restore(self) -> Plan:
        """Put back what was read, all of it also when one does not move.

        Raises
        ------
        DeviceFault
            The first stage that is not where it was.
        """
        faults: list[DeviceFault] = []
        for motor, position in reversed(self._positions):
            try:
                yield from move(motor, position)
            except DeviceFault as fault:
                faults.append(fault)
        if faults:
            raise faults[0]
