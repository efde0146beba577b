"""Stored runs reconstructed anew: what the service does with requests, and waiting for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.frame_times import Traversal
from xfusion_bluesky.documents.raw import Burst
from xfusion_bluesky.processing.bursts import BurstFinder
from xfusion_bluesky.processing.ledger import Ledger
from xfusion_bluesky.processing.requests import Answer, ReconstructionRequest, RequestQueue

__all__ = ["RequestServer", "Submit", "wait_for_runs"]

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1


class Submit(Protocol):
    """What `Engine.submit` offers."""

    def __call__(
        self,
        burst: Burst,
        corrections: Corrections | None = None,
        *,
        retry: bool = False,
        backends: Mapping[str, Mapping[str, Any]] | None = None,
        traversal: Traversal | None = None,
    ) -> list[str]:
        """Begin what was not done yet; return the processed runs that answer."""


class RequestServer:
    """Begins what requests ask for, and answers them; what it began it resumes after a restart.

    Parameters
    ----------
    queue : RequestQueue
        Of the installation.
    submit : callable
        `Engine.submit`.
    finder : BurstFinder
        Finds the bursts.
    ledger : Ledger
        Says which reconstructions have ended.
    """

    def __init__(
        self, queue: RequestQueue, submit: Submit, finder: BurstFinder, ledger: Ledger
    ) -> None:
        self._queue, self._submit, self._finder, self._ledger = queue, submit, finder, ledger
        self._going: dict[str, list[str]] | None = None

    def run(self, ended: threading.Event) -> None:
        """Serve until `ended` is set; in a thread of its own, because frames may be downloaded."""
        while not ended.wait(_POLL_S):
            try:
                self.serve(ended)
            except Exception:  # noqa: BLE001 - the thread must outlive what it meets
                _LOG.exception("The requests in %s cannot be served; trying again", self._queue)

    def serve(self, ended: threading.Event | None = None) -> None:
        """Serve what waits now."""
        if self._going is None:
            self._going = {}
            for request_id, request in self._queue.begun():
                try:
                    self._going[request_id] = self._begin(request)
                except Exception:  # noqa: BLE001 - one request must not stop the others
                    _LOG.exception("Request %s is resumed at the next start", request_id)
        for request_id, request in self._queue.pending():
            try:
                uids = self._begin(request)
            except Exception as error:  # noqa: BLE001 - who asked is told, and the service goes on
                if ended is not None and ended.is_set():
                    return  # it stays pending for the next service
                _LOG.exception("Request %s is refused", request_id)
                why = " ".join(str(error).split()) or type(error).__name__
                self._queue.answer(request_id, Answer(error=why))
            else:
                self._queue.answer(request_id, Answer(uids=tuple(uids)))
                self._going[request_id] = uids
        self._finish(self._going)

    def _begin(self, request: ReconstructionRequest) -> list[str]:
        uids: list[str] = []
        for burst in self._finder.find(request.raw_uid, request.seq_nums):
            if request.calibration_uid is not None:
                start = {**burst.start, "calibration_uid": request.calibration_uid}
                burst = replace(burst, start=start)
            uids += self._submit(
                burst,
                self._finder.corrections(burst),
                retry=request.retry,
                backends=request.backends,
                traversal=request.traversal,
            )
        return uids

    def _finish(self, going: dict[str, list[str]]) -> None:
        if not going:
            return
        open_runs = {entry.uid for entry in (*self._ledger.running(), *self._ledger.aborted())}
        for request_id in [each for each, uids in going.items() if not open_runs & set(uids)]:
            self._queue.finish(request_id)
            del going[request_id]


def wait_for_runs(
    state_folder: Path,
    uids: Collection[str],
    timeout_s: float,
    *,
    alive: Callable[[], bool] = lambda: True,
    tell: Callable[[Sequence[str]], None] = lambda waiting: None,
) -> None:
    """Wait until processed runs are in Tiled with their stop documents.

    Parameters
    ----------
    state_folder : Path
        State folder of the configuration.
    uids : collection of str
        Processed runs.
    timeout_s : float
        Longest wait after the last of them has ended; until then the service watches over them.
    alive : callable
        Whether the service still runs.
    tell : callable
        Told which runs are still waited for.

    Raises
    ------
    TimeoutError
        Some are missing that long after they ended.
    ConnectionError
        The service has ended.
    """
    ledger = Ledger(state_folder)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            running = {entry.uid for entry in ledger.running()}
            shown = ledger.in_tiled()
            if not running.isdisjoint(uids):
                deadline = time.monotonic() + timeout_s
            waiting = [uid for uid in uids if uid in running or uid not in shown]
            tell(waiting)
            if not waiting:
                return
            log = f"see logs/service.log in {state_folder}; the raw data are safe"
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{timeout_s:g} s after they ended, {len(waiting)} of {len(uids)} "
                    f"reconstructions are not in Tiled: {log}."
                )
            if not alive():
                raise ConnectionError(
                    f"The processing service ended before {len(waiting)} of {len(uids)} "
                    f"reconstructions were in Tiled. 'xfusion-bluesky sim start' starts it, and it "
                    f"goes on where it was; {log}."
                )
            time.sleep(_POLL_S)
    finally:
        ledger.close()
