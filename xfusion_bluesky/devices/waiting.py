"""Bounded puts and waits on EPICS signals: no wait without a limit, none past a disconnect.

A wait asks the IOC instead of listening to monitors: a monitor may bring values from before our
own put, and after an IOC has died some never come again. Each control layer has errors of its own;
whatever one raises here is a fault of the device.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ophyd.signal import EpicsSignalBase

from .faults import DeviceFault, Interrupted

PUT_LIMIT_S = 5.0
_NOTHING_RECORDED = "nothing was recorded by this command"
# A request to an IOC that dies in between is answered by nobody, so a longer one is repeated.
_READ_CHECK_S = 1.0
# A wait asks again after a tenth of the time it has lasted, within these bounds.
_ASK_AGAIN = 0.1
_SHORTEST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1
logger = logging.getLogger(__name__)


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
        When the PV is disconnected (at once), refuses the value, or does not answer in time.
    """
    _refuse_disconnected(signal, f"Writing {value!r} failed")
    try:
        signal.put(value, wait=wait, timeout=limit_s, connection_timeout=limit_s)
    except Exception as error:
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
    """Ask the IOC for the present value, past any monitor that may lag behind.

    Raises
    ------
    DeviceFault
        When the PV is disconnected (at once) or does not answer in time.
    """
    end = time.monotonic() + limit_s
    while True:
        _refuse_disconnected(signal, "Reading failed")
        try:
            return signal.get(
                timeout=_READ_CHECK_S, connection_timeout=_READ_CHECK_S, use_monitor=False
            )
        except Exception as error:
            if signal.connected and time.monotonic() < end:
                continue
            _refuse_disconnected(signal, "Reading failed")
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
    stop: threading.Event | None = None,
    on_value: Callable[[Any], None] | None = None,
    action: str = "look at the device's own status and at its IOC",
) -> Any:
    """Wait until the value of a signal meets a condition, and return that value.

    Parameters
    ----------
    signal : EpicsSignalBase
        Signal to watch.
    condition : callable
        Takes a value, returns whether the wait is over. It may look at other signals as well.
    limit_s : float
        Longest time to wait, in s.
    what : str
        What is being waited for, as the first words of an error.
    stop : threading.Event or None
        Set by whoever wants the wait to end early.
    on_value : callable or None
        Called with each value, for progress.
    action : str
        What to do when the wait takes too long.

    Raises
    ------
    DeviceFault
        When the limit passes or the signal disconnects (noticed at once).
    Interrupted
        When `stop` is set.
    """
    logger.debug("Waiting: %s [%s]", what, _pv(signal))
    begin = time.monotonic()
    while True:
        if stop is not None and stop.is_set():
            raise Interrupted(_pv(signal))
        _refuse_disconnected(signal, f"{what} failed")
        value = read(signal)
        if on_value is not None:
            on_value(value)
        if condition(value):
            return value
        elapsed_s = time.monotonic() - begin
        if elapsed_s >= limit_s:
            raise DeviceFault(
                f"{what} took too long",
                where=_pv(signal),
                why=f"still {value!r} after {limit_s:.1f} s",
                action=action,
                data=_NOTHING_RECORDED,
            )
        pause_s = min(max(_ASK_AGAIN * elapsed_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        time.sleep(min(pause_s, limit_s - elapsed_s))


def _refuse_disconnected(signal: EpicsSignalBase, what: str) -> None:
    # The control layer would wait for the IOC to come back; a dead one must be told at once.
    if not signal.connected:
        raise DeviceFault(
            what,
            where=_pv(signal),
            why="the PV is disconnected",
            action="restart the IOC, then look at the device before the next shot",
            data=_NOTHING_RECORDED,
        )


def _pv(signal: EpicsSignalBase) -> str:
    return str(getattr(signal, "pvname", None) or signal.name)


def _same(now: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return abs(float(now) - wanted) <= 1e-6 * max(abs(wanted), 1e-12)
    return bool(now == wanted)
