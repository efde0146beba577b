"""Bounded puts and waits on EPICS signals: no wait without a limit, none past a disconnect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ophyd.signal import EpicsSignalBase
from ophyd.utils import DisconnectedError, ReadOnlyError

from .faults import DeviceFault, Interrupted

PUT_LIMIT_S = 5.0
_NOTHING_RECORDED = "nothing was recorded by this command"
# A stop request has no signal of its own to wake the wait, so it is looked for this often.
_STOP_CHECK_S = 0.1


def put(
    signal: EpicsSignalBase, value: Any, *, wait: bool = True, limit_s: float = PUT_LIMIT_S
) -> None:
    """Write a signal.

    Parameters
    ----------
    signal : EpicsSignalBase
        An EPICS signal.
    value : Any
        What to write.
    wait : bool
        Whether to wait until the record has processed. False for commands whose processing lasts
        as long as the action they start (areaDetector's Acquire, Capture).
    limit_s : float
        Longest time to wait, in s.

    Raises
    ------
    DeviceFault
        When the PV is disconnected, refuses the value, or does not answer in time.
    """
    try:
        signal.put(value, wait=wait, timeout=limit_s, connection_timeout=limit_s)
    except (TimeoutError, DisconnectedError, ReadOnlyError, OSError, ValueError) as error:
        raise DeviceFault(
            f"Writing {value!r} failed",
            where=_pv(signal),
            why=f"{type(error).__name__}: {error}",
            action="check that the IOC runs and that the PV accepts this value",
            data=_NOTHING_RECORDED,
        ) from error


def put_and_confirm(
    signal: EpicsSignalBase, value: Any, *, limit_s: float = PUT_LIMIT_S, wait: bool = True
) -> None:
    """Write a setpoint and wait until its readback agrees."""
    put(signal, value, limit_s=limit_s, wait=wait)
    wait_until(signal, lambda now: _same(now, value), limit_s=limit_s, what=f"Setting {value!r}")


def read(signal: EpicsSignalBase, *, limit_s: float = PUT_LIMIT_S) -> Any:
    """Ask the IOC for the present value, past any monitor that may lag behind."""
    try:
        return signal.get(timeout=limit_s, connection_timeout=limit_s, use_monitor=False)
    except (TimeoutError, DisconnectedError) as error:
        raise DeviceFault(
            "Reading failed",
            where=_pv(signal),
            why=f"{type(error).__name__}: {error}",
            action="check that the IOC runs",
            data=_NOTHING_RECORDED,
        ) from error


def wait_until(
    signal: EpicsSignalBase,
    condition: Callable[[Any], bool],
    *,
    limit_s: float,
    what: str,
    data: str = _NOTHING_RECORDED,
    stop: threading.Event | None = None,
    on_change: Callable[[Any], None] | None = None,
    also: Sequence[EpicsSignalBase] = (),
) -> Any:
    """Wait until the value of a signal meets a condition, and return that value.

    Parameters
    ----------
    signal : EpicsSignalBase
        Signal to watch.
    condition : callable
        Takes a value, returns whether the wait is over.
    limit_s : float
        Longest time to wait, in s.
    what : str
        What is being waited for, as the first words of an error.
    data : str
        Whether the data are safe if this wait fails.
    stop : threading.Event or None
        Set by whoever wants the wait to end early.
    on_change : callable or None
        Called with each new value, for progress.
    also : sequence of EpicsSignalBase
        Further signals whose changes are a reason to ask `condition` again.

    Raises
    ------
    DeviceFault
        When the limit passes or the signal disconnects (noticed at once).
    Interrupted
        When `stop` is set.
    """
    woken = threading.Event()

    def wake(**_: Any) -> None:
        woken.set()

    woken.set()
    value: Any = None
    for watched in (signal, *also):
        watched.subscribe(wake, event_type=signal.SUB_VALUE, run=False)
        watched.subscribe(wake, event_type=signal.SUB_META, run=False)
    try:
        end = time.monotonic() + limit_s
        while True:
            if stop is not None and stop.is_set():
                raise Interrupted(_pv(signal))
            if not signal.connected:
                raise DeviceFault(
                    f"{what} failed",
                    where=_pv(signal),
                    why="the PV disconnected while we waited for it",
                    action="restart the IOC, then check the camera before the next shot",
                    data=data,
                )
            if woken.is_set():
                woken.clear()
                # The monitor may deliver values from before our own put; the IOC does not.
                value = read(signal)
                if on_change is not None:
                    on_change(value)
                if condition(value):
                    return value
            remaining_s = end - time.monotonic()
            if remaining_s <= 0:
                raise DeviceFault(
                    f"{what} took too long",
                    where=_pv(signal),
                    why=f"still {value!r} after {limit_s:.1f} s",
                    action="look at the camera's own status and at its IOC",
                    data=data,
                )
            woken.wait(min(remaining_s, _STOP_CHECK_S))
    finally:
        for watched in (signal, *also):
            watched.clear_sub(wake)


def _pv(signal: EpicsSignalBase) -> str:
    return str(getattr(signal, "pvname", None) or signal.name)


def _same(now: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return abs(float(now) - wanted) <= 1e-6 * max(abs(wanted), 1e-12)
    return bool(now == wanted)
