"""Plans for afterwards: fetch a burst that is still in camera memory, make the instrument safe."""

from __future__ import annotations

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp

from ..devices.dual import DualCamera
from ..devices.shutter import Shutter
from .acquisition import run_of_bursts
from .safety import Plan, connected, shut


def recover(
    dual: DualCamera,
    hr_first: int | None = None,
    hr_last: int | None = None,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Fetch the burst that both cameras still hold, without arming them, as a run of its own.

    For a burst whose transfer failed: the IOC died, frames were lost, the disk was full. The
    settings in the documents are those the cameras and the delay generator have now.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    hr_first, hr_last : int, optional
        Phantom frames to fetch. Default: from the first one that the last plan asked for to the
        last one that the camera holds.
    md : dict, optional
        Metadata of the burst, for example ``{"sample_name": "wall 1", "flat_uid": uid}``.

    Returns
    -------
    str
        Uid of the run; its start document says ``recovered: True``.

    Raises
    ------
    DeviceFault
        When the memory of a camera is empty.
    """
    start = {
        "plan_name": "recover",
        "purpose": "dual-burst",
        "recovered": True,
        "dark_uid": None,
        "flat_uid": None,
        "calibration_uid": None,
        "num_bursts": 1,
        **(md or {}),
    }
    phantom = dual.phantom

    def inner() -> Plan:
        yield from connected(dual)
        first, last = hr_first, hr_last
        if last is None:
            last = yield from bps.rd(phantom.stored_last)
        if first is None:
            wanted = yield from bps.rd(phantom.first_frame)
            held = yield from bps.rd(phantom.stored_first)
            first = min(max(wanted, held), last)
        yield from bps.mv(phantom.first_frame, first, phantom.last_frame, last)
        yield from bps.mv(dual.from_memory, True)
        return (yield from run_of_bursts(dual, 1, start))

    return (yield from bpp.finalize_wrapper(inner(), lambda: bps.mv(dual.from_memory, False)))


def make_safe(dual: DualCamera, shutter: Shutter) -> Plan:
    """Close the shutter, inhibit the trigger, disarm both cameras; bursts in memory stay there.

    For after `RE.halt`, or after an IOC was away while a plan ended. It can be repeated.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    shutter : Shutter
        Closed first, also when the cameras do not answer.

    Raises
    ------
    DeviceFault
        When one of them cannot be made safe.
    """

    def close() -> Plan:
        yield from connected(shutter)
        yield from shut(shutter)

    def disarm() -> Plan:
        # What answers is made safe, also when another device does not.
        yield from bpp.finalize_wrapper(connected(dual), lambda: bps.stop(dual))

    return (yield from bpp.finalize_wrapper(close(), disarm))
