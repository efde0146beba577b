"""The bursts of a plan, put together while it runs, so that it can compute with its own data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import bluesky.preprocessors as bpp

from ..documents.raw import Burst, BurstReader
from .safety import Plan


class Collected:
    """Bursts by the uid of their run, from the documents of a plan."""

    def __init__(self) -> None:
        self._readers: dict[str, BurstReader] = {}
        self._run_of: dict[str, str] = {}
        self._last: Burst | None = None
        self._bursts: defaultdict[str, list[Burst]] = defaultdict(list)

    def bursts(self, uid: str) -> list[Burst]:
        """Return the complete bursts of a run so far."""
        return list(self._bursts[uid])

    @property
    def last(self) -> Burst:
        """The burst that came last.

        Raises
        ------
        LookupError
            None has come.
        """
        if self._last is None:
            raise LookupError("The documents of this plan hold no burst yet.")
        return self._last

    def during(self, plan: Callable[[], Plan]) -> Plan:
        """Run a plan and collect its bursts.

        Parameters
        ----------
        plan : callable
            Makes the plan.
        """
        return (yield from bpp.subs_wrapper(plan(), {"all": [self._take]}))

    def _take(self, name: str, document: Mapping[str, Any]) -> None:
        uid = self._run(name, document)
        if uid is None:
            return
        if name == "start":
            self._readers[uid] = BurstReader()
        burst = self._readers[uid].feed(name, document)
        if burst is not None:
            self._bursts[uid].append(burst)
            self._last = burst

    def _run(self, name: str, document: Mapping[str, Any]) -> str | None:
        """Return the run that a document belongs to."""
        match name:
            case "start":
                uid = str(document["uid"])
            case "descriptor" | "stream_resource":
                uid = str(document["run_start"])
            case "stream_datum":
                uid = self._run_of.get(document["stream_resource"], "")
            case "event":
                uid = self._run_of.get(document["descriptor"], "")
            case _:
                return None
        if name in ("descriptor", "stream_resource"):
            self._run_of[document["uid"]] = uid
        return uid if uid in self._readers or name == "start" else None
