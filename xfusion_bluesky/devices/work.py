"""What a device does in a thread of its own, behind the status that a plan waits for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ophyd import DeviceStatus

from .faults import DeviceFault

_END_LIMIT_S = 5.0
logger = logging.getLogger(__name__)


class Work:
    """One thing that a device was told to do.

    Parameters
    ----------
    status : DeviceStatus
        Finished when the work is, failed when it raises.
    do : callable
        The work. Its argument is set when it is to end early.
    name : str
        Name of the thread.
    """

    def __init__(
        self, status: DeviceStatus, do: Callable[[threading.Event], None], name: str
    ) -> None:
        self._status = status
        self._do = do
        self._stop = threading.Event()
        self._withdrawn = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def end(self, *, withdrawn: bool) -> None:
        """End the work early, and wait until it has ended; nothing happens when it has.

        Parameters
        ----------
        withdrawn : bool
            True when whoever asked for the work has taken it back and no longer waits. The status
            then does not fail: a RunEngine would throw that failure into the plan's clean-up, or
            into whatever it does after a pause.

        Raises
        ------
        DeviceFault
            When the work does not end within 5 s.
        """
        self._withdrawn = self._withdrawn or withdrawn
        self._stop.set()
        if self._thread is threading.current_thread():
            return
        self._thread.join(_END_LIMIT_S)
        if self._thread.is_alive():
            raise DeviceFault(
                "A command cannot be ended",
                where=self._thread.name,
                why=f"it did not react for {_END_LIMIT_S:.0f} s",
                action="check that the IOC answers; if it does, start the session again",
                data="what a camera has recorded stays in its memory until it is armed",
            )

    def _run(self) -> None:
        try:
            self._do(self._stop)
        except Exception as error:  # noqa: BLE001 - the plan hears of whatever went wrong
            if not self._withdrawn:
                self._status.set_exception(error)
                return
            logger.info("%s was ended: %s", self._thread.name, error)
        self._status.set_finished()
