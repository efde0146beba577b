"""All areas looked at, side by side and within one limit of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..configuration import Configuration
from . import catalogue, instrument, plugins, processing, software, storage
from .finding import Finding, State, fail

LIMIT_S = 25.0
_CLEAN_UP_S = 0.5

_Area = Callable[[Configuration, threading.Event], Iterator[Finding]]
# In the order in which a person would ask: what is not there stops what comes after it.
_AREAS: dict[str, _Area] = {
    "software": software.look,
    "instrument": instrument.look,
    "folders": storage.look,
    "Tiled": catalogue.look,
    "processing": processing.look,
    "plugins": plugins.look,
}


@dataclass
class _Look:
    area: str
    findings: list[Finding] = field(default_factory=list)
    finished: bool = False


def examine(
    configuration: Configuration, *, limit_s: float = LIMIT_S
) -> list[tuple[str, list[Finding]]]:
    """Look at everything that an installation needs, whatever is broken.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    limit_s : float
        Longest time for the whole; what did not answer until then is reported as failed.

    Returns
    -------
    list of (str, list of Finding)
        Areas and what was found in each.
    """
    ended = threading.Event()
    looks = [_Look(area) for area in _AREAS]
    threads = [
        # Daemons: one that hangs in a dead network mount must not keep the command from ending.
        threading.Thread(target=_run, args=(look, configuration, ended), daemon=True)
        for look in looks
    ]
    deadline = time.monotonic() + limit_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    ended.set()
    for thread in threads:
        # Long enough to end the children of one that looks at plugins.
        thread.join(_CLEAN_UP_S)
    return [(look.area, _so_far(look, limit_s)) for look in looks]


def failed(areas: list[tuple[str, list[Finding]]]) -> bool:
    """Whether something keeps the installation from doing its work."""
    return any(finding.state is State.FAIL for _, findings in areas for finding in findings)


def _run(look: _Look, configuration: Configuration, ended: threading.Event) -> None:
    try:
        for finding in _AREAS[look.area](configuration, ended):
            look.findings.append(finding)
    except Exception as error:  # noqa: BLE001 - one look that fails must not hide the others
        look.findings.append(
            fail(
                look.area,
                f"the look at it broke off: {type(error).__name__}: {error}",
                "correct what it names; if it names nothing of yours, report it as a bug",
            )
        )
    look.finished = True


def _so_far(look: _Look, limit_s: float) -> list[Finding]:
    if look.finished:
        return look.findings
    unanswered = fail(
        look.area,
        f"no answer within {limit_s:g} s",
        "something hangs, often a network mount or a server: look at what comes after the "
        "last line above",
    )
    return [*look.findings, unanswered]
