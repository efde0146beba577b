"""The plan that says what a burst will be worth before the beam is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bluesky.plan_stubs as bps

from ..devices.dual import DualCamera
from ..devices.faults import DeviceFault
from ..preflight.examination import examine, free_bytes, pulses_of
from ..preflight.finding import Severity
from ..preflight.pulses import decay_of
from ..preflight.timeline import BurstSettings, PhantomSettings, ShimadzuSettings
from .safety import Plan, connected

__all__ = ["preflight", "settings_of"]

LINK_BYTES_PER_S = {"1 Gb/s": 118e6, "10 Gb/s": 1.18e9}


def preflight(
    dual: DualCamera,
    hr_first: int = 0,
    hr_last: int = 3,
    phantom_delay_ns: float = 0.0,
    shimadzu_delay_ns: float = 0.0,
    bursts: int = 1,
    pulse_period_ns: float | None = None,
    pulse_width_ns: float = 0.1,
    pulse_offset_ns: float | None = None,
    scintillator: str = "LuAG",
    strict: bool = False,
) -> Plan:
    """Say what `dual_burst` would be worth with the cameras set as they are; moves nothing.

    No run is made and nothing is armed. What `dual_burst` sets itself has the same names here.

    Parameters
    ----------
    dual : DualCamera
        The pair of cameras.
    hr_first, hr_last : int
        Phantom frames to keep.
    phantom_delay_ns, shimadzu_delay_ns : float
        Trigger delays after T0, in ns.
    bursts : int
        Number of bursts.
    pulse_period_ns, pulse_width_ns : float, optional
        Pulse pattern of the ring; without a period the beam counts as continuous.
    pulse_offset_ns : float, optional
        Time of any pulse after T0, where the trigger is locked to the ring.
    scintillator : str
        ``LuAG``, ``YAG``, ``LYSO``, or a decay time in ns.
    strict : bool
        Fail when a check says ``stop``, for use at the beginning of another plan.

    Returns
    -------
    Preflight
        Printed, it shows every check; `viewer.timeline.save_timeline` draws it.

    Raises
    ------
    DeviceFault
        The cameras do not answer; or `strict`, and something says ``stop``.
    """
    yield from connected(dual)
    settings = yield from settings_of(dual)
    settings = BurstSettings(
        replace(settings.shimadzu, delay_ns=shimadzu_delay_ns),
        replace(settings.phantom, delay_ns=phantom_delay_ns, first=hr_first, last=hr_last),
    )
    report = examine(
        settings,
        pulses=pulses_of(pulse_period_ns, pulse_width_ns, pulse_offset_ns),
        decay_ns=decay_of(scintillator),
        bursts=bursts,
        free_bytes=free_bytes(dual.folder),
    )
    stops = [check for check in report.checks if check.severity is Severity.STOP]
    if strict and stops:
        raise DeviceFault(
            "The preflight says stop",
            where=stops[0].subject,
            why=f"{stops[0].found}; {stops[0].why}",
            action=f"set {stops[0].nearest}; RE(preflight(dual)) shows all checks",
            data="nothing was armed",
        )
    return report


def settings_of(dual: DualCamera) -> Plan:
    """Read the settings of both cameras and of the delay generator.

    Parameters
    ----------
    dual : DualCamera
        Connected.

    Returns
    -------
    BurstSettings
    """
    lr, hr, delays = dual.shimadzu, dual.phantom, dual.delay_generator
    value: dict[str, Any] = {}
    for name, signal in {
        "interval_ns": lr.record_interval_ns,
        "exposure_ns": lr.exposure_ns,
        "frames": lr.record_frames,
        "frames_before_trigger": lr.trigger_position,
        "camera_delay_ns": lr.camera_delay_ns,
        "rows": lr.rows,
        "columns": lr.columns,
        "playback_hz": lr.playback_rate_hz,
    }.items():
        value[name] = yield from bps.rd(signal)
    delay_s = yield from bps.rd(delays.delay_c_s)
    shimadzu = ShimadzuSettings(delay_ns=round(1e9 * delay_s, 3), **value)

    value = {}
    for name, signal in {
        "first": hr.first_frame,
        "last": hr.last_frame,
        "rows": hr.rows,
        "columns": hr.columns,
        "memory_frames": hr.memory_frames,
    }.items():
        value[name] = yield from bps.rd(signal)
    delay_s = yield from bps.rd(delays.delay_a_s)
    period_s = yield from bps.rd(hr.acquire_period)
    exposure_s = yield from bps.rd(hr.acquire_time)
    sync = yield from bps.rd(hr.ext_sync_type)
    link = yield from bps.rd(hr.download_speed)
    oldest = yield from bps.rd(hr.stored_first)
    phantom = PhantomSettings(
        period_ns=1e9 * period_s,
        exposure_ns=1e9 * exposure_s,
        delay_ns=round(1e9 * delay_s, 3),
        free_running=sync == "FREE-RUN",
        kept_before_trigger=-oldest if oldest < 0 else None,
        link_bytes_per_s=LINK_BYTES_PER_S.get(link, min(LINK_BYTES_PER_S.values())),
        **value,
    )
    return BurstSettings(shimadzu, phantom)
