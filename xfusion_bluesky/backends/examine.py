"""Examine a backend in a child process, so that whatever it does is a finding and nothing more."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from xfusion_bluesky.backends.card import (
    Accuracy,
    Begun,
    Card,
    Completed,
    Cost,
    Finding,
    Identity,
    Refused,
    Verdict,
    parse_finding,
)
from xfusion_bluesky.backends.registry import UnknownBackendError

__all__ = ["examine"]

_GRACE_S = 3.0
_READ_BYTES = 1 << 16
_TAIL_BYTES = 2000


class _CameToGrief(Exception):
    """The examining process did not end as it should; the message says how."""


def examine(
    backend_id: str,
    parameters: Mapping[str, Any],
    *,
    allow: Collection[str] | None = None,
    block: Collection[str] = (),
    limit_s: float = 120.0,
    on_progress: Callable[[str], object] = lambda what: None,
) -> Card:
    """Return the card of an installed backend.

    Parameters
    ----------
    backend_id : str
        Which one.
    parameters : mapping
        Its parameters, JSON values.
    allow, block : collection of str
        As for `Registry.discover`.
    limit_s : float
        Longest time for all of it, s; the process is killed after it.
    on_progress : callable
        Told in words what is being done.

    Raises
    ------
    UnknownBackendError
        If no plugin offers it.
    ValueError
        If the backend cannot be made from these parameters.
    """
    request = {
        "backend_id": backend_id,
        "parameters": dict(parameters),
        "allow": None if allow is None else list(allow),
        "block": list(block),
        "limit_s": limit_s,
    }
    card = Card(backend_id=backend_id, parameters=dict(parameters))
    doing, ending = "starting", ""
    with _Examiner(request) as examiner:
        try:
            for finding in examiner.findings(limit_s):
                match finding:
                    case Begun():
                        doing = finding.what
                        on_progress(doing)
                    case Refused(what="backend"):
                        raise UnknownBackendError(finding.why)
                    case Refused():
                        raise ValueError(finding.why)
                    case Identity():
                        card = card.model_copy(update={"identity": finding})
                    case Verdict():
                        card = card.model_copy(update={"verdicts": (*card.verdicts, finding)})
                    case Cost():
                        card = card.model_copy(update={"cost": finding})
                    case Accuracy():
                        card = card.model_copy(update={"accuracy": finding})
        except _CameToGrief as error:
            ending = f"{error} during {doing}" if doing != "starting" else str(error)
    # What it printed is complete only now that the process has ended.
    output = examiner.tail.decode(errors="replace").strip()
    return card.model_copy(update={"ending": ending, "output": output})


class _Examiner:
    """The child process, in a session of its own that ends as a whole."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.tail = b""
        self._from_child, to_us = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "xfusion_bluesky.backends.examiner"),
                    json.dumps({**request, "fd": to_us}),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(to_us,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._from_child)
            raise
        finally:
            os.close(to_us)
        self._drain = threading.Thread(target=self._keep_tail, daemon=True)
        self._drain.start()

    def __enter__(self) -> _Examiner:
        return self

    def __exit__(self, *_: object) -> None:
        # The whole session: a process that the backend forked would otherwise stay behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._from_child)
        # A process that left the session may hold the pipe for ever: do not wait for that.
        self._drain.join(_GRACE_S)

    def findings(self, limit_s: float) -> Iterator[Finding]:
        """Yield what the process finds, until it has found everything."""
        end = time.monotonic() + limit_s + _GRACE_S
        begin, data = time.monotonic(), b""
        while True:
            left_s = end - time.monotonic()
            ready = left_s > 0 and select.select([self._from_child], [], [], left_s)[0]
            new = os.read(self._from_child, _READ_BYTES) if ready else b""
            if not new:
                late = time.monotonic() - begin >= limit_s
                raise _CameToGrief(
                    f"it did not finish within {limit_s:g} s and was killed"
                    if late
                    else self._how_ended()
                )
            *lines, data = (data + new).split(b"\n")
            for line in lines:
                try:
                    finding = parse_finding(line)
                except ValueError as error:
                    raise _CameToGrief("its process said nonsense") from error
                if isinstance(finding, Completed):
                    return
                yield finding

    def _how_ended(self) -> str:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return "its process closed the pipe"
        return f"crashed with {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"

    def _keep_tail(self) -> None:
        output = self._process.stdout
        if output is not None:
            with output:
                while chunk := os.read(output.fileno(), _READ_BYTES):
                    self.tail = (self.tail + chunk)[-_TAIL_BYTES:]
