"""The processing service: whether it runs, what went wrong last, which journals wait."""

from __future__ import annotations

import importlib.util
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..configuration import Configuration
from ..documents.journal import SUFFIX
from .finding import Finding, age, fail, ok, warn

_LOG = Path("logs") / "service.log"
_TAIL_BYTES = 200_000
_WRITER = "xfusion_bluesky.processing.writer"
_CONNECTED = f"{_WRITER} Connected to Tiled"
_RECENT_S = 3600.0
_FRESH_S = 60.0
_ERROR_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ (?:ERROR|CRITICAL) (.*)$", re.M)


def look(configuration: Configuration, ended: threading.Event) -> Iterator[Finding]:
    """Look at the service, its log and the journals.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    ended : threading.Event
        Set when nobody listens any more.
    """
    folders = configuration.folders
    if importlib.util.find_spec("httpx") is None:
        yield warn(
            "service",
            "it cannot run on this computer, which lacks the client of Tiled",
            "where it is to run: pip install 'xfusion-bluesky[tiled]'",
        )
    else:
        yield service(folders.state)
    yield log(folders.state / _LOG)
    yield journals(folders.journal, folders.state)


def service(state: Path) -> Finding:
    """Look whether the service runs and can write to Tiled.

    Parameters
    ----------
    state : Path
        State folder.
    """
    from ..processing.service import ServiceProcess

    running = ServiceProcess.running(state)
    if running is None:
        return fail(
            "service",
            f"no process works for {state}: bursts are recorded, but neither shown nor fused",
            "xfusion-bluesky sim start, or python -m xfusion_bluesky.processing.service --config "
            "FILE; it makes up for what it missed",
        )
    if running.tiled_trouble:
        return warn(
            "service",
            f"process {running.pid} cannot write to Tiled now: {running.tiled_trouble}",
            "look at Tiled above; it tries again by itself, and the journals keep everything",
        )
    return ok("service", f"process {running.pid} runs and writes to Tiled")


def log(path: Path) -> Finding:
    """Look for an error in the last hour of the log, unless it is known to be over.

    Parameters
    ----------
    path : Path
        Log of the service.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ok("log", f"{path} is not there yet")
    # What kept the service from Tiled before it got there is over.
    connected = text.rfind(_CONNECTED)
    errors = [
        (time.mktime(time.strptime(line[1], "%Y-%m-%d %H:%M:%S")), line[2])
        for line in _ERROR_LINE.finditer(text)
        if line.start() > connected or not line[2].startswith(_WRITER)
    ]
    recent = [(when_s, what) for when_s, what in errors if time.time() - when_s < _RECENT_S]
    if not recent:
        return ok("log", f"no error in the last hour ({path})")
    when_s, what = recent[-1]
    return warn(
        "log",
        f"{len(recent)} errors in the last hour, the last {age(when_s)} ago: {what}",
        f"read {path}; an error that has been dealt with is not shown after an hour",
    )


def journals(folder: Path, state: Path) -> Finding:
    """Look for journals that are not in Tiled though nothing was added to them for a minute.

    Parameters
    ----------
    folder : Path
        Journal folder.
    state : Path
        State folder.
    """
    from ..processing.ledger import FILE_NAME, Ledger

    written: set[str] = set()
    if (state / FILE_NAME).exists():
        ledger = Ledger(state)
        try:
            written = ledger.in_tiled()
        finally:
            ledger.close()
    paths = [path for path in folder.glob(f"*{SUFFIX}") if path.stem not in written]
    waiting = [path for path in paths if time.time() - path.stat().st_mtime > _FRESH_S]
    if not waiting:
        return ok("journals", f"none waits to be written to Tiled ({folder})")
    oldest_s = min(path.stat().st_mtime for path in waiting)
    return warn(
        "journals",
        f"{len(waiting)} wait to be written to Tiled, the oldest since {age(oldest_s)} ({folder})",
        "see to service and Tiled; they are written then, and until then nothing is lost",
    )
