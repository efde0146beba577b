"""Plans that take bursts: of the sample, of the dark and of the empty beam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from ophyd import Device, EpicsMotor

from ..devices.dual import DualCamera
from ..devices.shutter import Shutter
from .calibrated import check_calibration, find_calibration
from .safety import Plan, connected, shut_afterwards
from .stages import Places, move

SCALE = 4


def dual_burst(
    dual: DualCamera,
    shutter: Shutter,
    bursts: int = 1,
    hr_first: int = 0,
    hr_last: int = 3,
    phantom_delay_ns: float = 0.0,
    shimadzu_delay_ns: float = 0.0,
    dark_uid: str | None = None,
    flat_uid: str | None = None,
    calibration_uid: str | None = None,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Take bursts of the sample with both cameras, one event a burst.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    shutter : Shutter
        Opened for each burst, closed at the end whatever happens, and while the plan is paused.
    bursts : int
        Number of bursts, at least 1.
    hr_first, hr_last : int
        Phantom frames to keep, counted from its trigger; negative ones lie before it.
    phantom_delay_ns, shimadzu_delay_ns : float
        Trigger delays after T0, in ns.
    dark_uid, flat_uid : str, optional
        Runs of `dark_flat` to correct with. Default: those of the calibration; without either the
        reconstruction works on counts.
    calibration_uid : str, optional
        What `calibrate` returned; without it the run does not count as calibrated, and the cameras
        are taken for perfectly aligned.
    md : dict, optional
        Sample metadata, for example ``{"sample_name": "wall 1"}``.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    CalibrationError
        There is no such calibration, or it was made with other readout regions.
    """
    _check(bursts, hr_first, hr_last)
    calibration = None
    if calibration_uid is not None:
        calibration = find_calibration(dual, calibration_uid)
        dark_uid = dark_uid or calibration.uid_of("dark")
        flat_uid = flat_uid or calibration.uid_of("flat")
    start = {
        "plan_name": "dual_burst",
        "purpose": "dual-burst",
        "dark_uid": dark_uid,
        "flat_uid": flat_uid,
        "calibration_uid": calibration_uid,
        "num_bursts": bursts,
        **(md or {}),
    }

    def inner() -> Plan:
        yield from connected(dual, shutter)
        if calibration is not None:
            yield from check_calibration(dual, calibration)
        yield from set_timing(dual, hr_first, hr_last, phantom_delay_ns, shimadzu_delay_ns)
        return (yield from run_of_bursts(dual, bursts, start, shutter, "Open"))

    return (yield from shut_afterwards(inner(), shutter))


def dark_flat(
    dual: DualCamera,
    shutter: Shutter,
    sample: EpicsMotor,
    sample_out_mm: float = 10.0,
    bursts: int = 1,
    hr_first: int = 0,
    hr_last: int = 23,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Take the dark (shutter closed) and the flat (sample out), one run each.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    shutter : Shutter
        Closed at the end whatever happens.
    sample : EpicsMotor
        Stage that takes the sample out; returned to where it was whatever happens.
    sample_out_mm : float
        Position out of the beam, in mm.
    bursts : int
        Bursts in each of the two runs.
    hr_first, hr_last : int
        Phantom frames to keep.
    md : dict, optional
        Further metadata.

    Returns
    -------
    tuple of str
        Uids of the dark and of the flat run.
    """
    _check(bursts, hr_first, hr_last)
    places = Places([sample])

    def start(purpose: str) -> dict[str, Any]:
        return {"plan_name": "dark_flat", "purpose": purpose, "num_bursts": bursts, **(md or {})}

    def inner() -> Plan:
        yield from connected(dual, shutter, sample)
        yield from places.remember()
        yield from set_timing(dual, hr_first, hr_last, 0.0, 0.0)
        dark_uid = yield from run_of_bursts(dual, bursts, start("dark"), shutter, "Closed")
        yield from move(sample, sample_out_mm)
        flat_uid = yield from run_of_bursts(dual, bursts, start("flat"), shutter, "Open")
        return dark_uid, flat_uid

    return (yield from bpp.finalize_wrapper(shut_afterwards(inner(), shutter), places.restore))


def run_of_bursts(
    dual: DualCamera,
    bursts: int,
    start: dict[str, Any],
    shutter: Shutter | None = None,
    position: str = "Open",
    *,
    before: Callable[[int], Plan] | None = None,
    after: Callable[[int], Plan] | None = None,
    also: Sequence[Device] = (),
) -> Plan:
    """Take bursts as one run, one event a burst.

    A pause takes a burst that is in progress again after resuming; one that is complete is
    neither lost nor repeated.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    bursts : int
        Number of bursts.
    start : dict
        Metadata of the run.
    shutter : Shutter, optional
        Moved to `position` before each burst, because somebody else may have closed it.
    position : str
        ``"Open"`` or ``"Closed"``.
    before, after : callable, optional
        Make the plan that precedes, or follows, each burst, from its number (0, 1, ...).
    also : sequence of Device
        Read into the event of each burst.

    Returns
    -------
    str
        Uid of the run.
    """
    cameras = {"cameras": ["phantom", "shimadzu"], "scale": SCALE, "detectors": [dual.name]}

    def document() -> Plan:
        yield from bps.create("primary")
        for device in (dual, *also):
            yield from bps.read(device)
        yield from bps.save()

    def run() -> Plan:
        for number in range(bursts):
            yield from bps.checkpoint()
            if before is not None:
                yield from before(number)
            if shutter is not None:
                yield from bps.mv(shutter, position)
            yield from bps.trigger(dual, wait=True)
            yield from bpp.rewindable_wrapper(document(), False)
            if after is not None:
                yield from bpp.rewindable_wrapper(after(number), False)

    yield from bps.mv(dual.planned_bursts, bursts)
    whole = bpp.run_wrapper(run(), md={**cameras, **start})
    return (yield from bpp.stage_wrapper(whole, [dual]))


def set_timing(
    dual: DualCamera,
    hr_first: int,
    hr_last: int,
    phantom_delay_ns: float = 0.0,
    shimadzu_delay_ns: float = 0.0,
) -> Plan:
    """Say which Phantom frames to keep, and when the cameras are triggered after T0.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras, not staged.
    hr_first, hr_last : int
        Phantom frames to keep, counted from its trigger.
    phantom_delay_ns, shimadzu_delay_ns : float
        Trigger delays after T0, in ns.
    """
    yield from bps.mv(dual.phantom.first_frame, hr_first, dual.phantom.last_frame, hr_last)
    yield from bps.abs_set(
        dual.delay_generator, {"a": phantom_delay_ns, "c": shimadzu_delay_ns}, wait=True
    )


def _check(bursts: int, hr_first: int, hr_last: int) -> None:
    if bursts < 1:
        raise ValueError(f"bursts is {bursts}; at least 1 is needed.")
    if hr_last < hr_first:
        raise ValueError(
            f"The HR range {hr_first} to {hr_last} is empty; hr_last must not be less."
        )
