"""What every plan does around its measurement: find its devices alive, leave the beam shut."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import FailedStatus, Msg
from ophyd import Device

from ..devices.faults import DeviceFault
from ..devices.shutter import Shutter

Plan = Generator[Msg, Any, Any]
RECONNECTION_LIMIT_S = 15.0


def connected(*devices: Device) -> Plan:
    """Wait until devices are connected, for instance because their IOC has just come back.

    Parameters
    ----------
    *devices : Device
        What the plan is going to use.

    Raises
    ------
    DeviceFault
        When one does not answer within 15 s.
    """

    def wait() -> None:
        for device in devices:
            device.wait_for_connection(timeout=RECONNECTION_LIMIT_S)

    tasks = yield from bps.wait_for([lambda: asyncio.to_thread(wait)])
    for task in tasks or ():
        if error := task.exception():
            raise DeviceFault(
                "The control system does not answer",
                where=", ".join(device.name for device in devices),
                why=str(error).strip(),
                action="start the IOC, wait until it answers, then run the plan again",
                data="nothing was recorded by this command",
            ) from error


def shut(shutter: Shutter) -> Plan:
    """Shut the beam off.

    Raises
    ------
    DeviceFault
        When the shutter does not close; then it has to be closed by other means.
    """
    try:
        yield from bps.mv(shutter, "Closed")
    except (DeviceFault, FailedStatus):
        # While a plan ends, a failure of something else may arrive during this wait.
        try:
            yield from bps.mv(shutter, "Closed")
        except (DeviceFault, FailedStatus) as error:
            raise DeviceFault(
                "THE SHUTTER COULD NOT BE CLOSED, the beam may be on",
                where=shutter.prefix,
                why=finding(error),
                action="close it by hand now; RE(make_safe(dual, shutter)) closes it once its IOC "
                "is back",
                data="bursts whose events exist are safe",
            ) from error


def shut_afterwards(plan: Plan, shutter: Shutter) -> Plan:
    """Run a plan and shut the beam off, whatever happens.

    Only `RE.halt` skips that.

    Parameters
    ----------
    plan : generator
        What is done before.
    shutter : Shutter
        What is closed after it.

    Raises
    ------
    DeviceFault
        When the shutter does not close; it also tells why the plan failed, if it did.
    """
    try:
        result = yield from plan
    except Exception as error:
        try:
            yield from shut(shutter)
        except DeviceFault as fault:
            before = _device_error(error)
            fault.why += f"; before that, the plan ended with: {finding(error)}"
            fault.data = before.data if isinstance(before, DeviceFault) else fault.data
            raise
        raise
    yield from shut(shutter)
    return result


def finding(error: Exception) -> str:
    """Say what an error of a plan is about, without advice."""
    cause = _device_error(error)
    return cause.finding if isinstance(cause, DeviceFault) else str(cause) or repr(cause)


def _device_error(error: Exception) -> BaseException:
    """Return what a device said, when a failed status only carries it."""
    return error.__cause__ or error if isinstance(error, FailedStatus) else error
