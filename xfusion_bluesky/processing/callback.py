"""The RunEngine's side of processing: a callback that appends documents to a run's journal."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfusion_bluesky.documents.journal import JournalWriter, encode

_LOG = logging.getLogger(__name__)
_MOST_PENDING = 10_000


@dataclass
class _Run:
    uid: str
    writer: JournalWriter | None = None
    pending: deque[tuple[str, bytes]] = field(default_factory=deque)
    lost: bool = False
    complained: bool = False
    stopped: bool = False


class ReconstructionCallback:
    """Appends each document to its run's journal; subscribe it with ``RE.subscribe``.

    It does constant work and never raises: a disk that is full or away must not end a plan.
    Lines that could not be written are kept in memory, 10 000 in all, and tried again with the
    next document.

    Parameters
    ----------
    journal_folder : Path
        Journal folder of the configuration; made when missing.
    """

    def __init__(self, journal_folder: Path) -> None:
        self._folder = Path(journal_folder)
        self._runs: dict[str, _Run] = {}
        self._run_of_descriptor: dict[str, str] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Append one document; returns also when that failed.

        Parameters
        ----------
        name : str
            Kind of document, as the RunEngine says it.
        doc : mapping
            The document.
        """
        run: _Run | None = None
        try:
            run = self._run_of(name, doc)
            if run is None:
                _LOG.error("A %s document of no open run was left out of the journal", name)
            elif not run.lost:
                run.pending.append((name, encode(name, dict(doc))))
                run.stopped = run.stopped or name == "stop"
                self._bound(run)
        except Exception as error:  # noqa: BLE001 - a plan must never end because of its journal
            self._complain(run, error)
        for waiting in list(self._runs.values()):
            self._flush(waiting)

    def _run_of(self, name: str, doc: Mapping[str, Any]) -> _Run | None:
        if name == "start":
            run = self._runs[doc["uid"]] = _Run(doc["uid"])
            return run
        if "run_start" in doc:
            if name == "descriptor":
                self._run_of_descriptor[doc["uid"]] = doc["run_start"]
            return self._runs.get(doc["run_start"])
        if "descriptor" in doc:
            return self._runs.get(self._run_of_descriptor.get(doc["descriptor"], ""))
        still_open = [run for run in self._runs.values() if not run.stopped]
        return still_open[0] if len(still_open) == 1 else None

    def _bound(self, run: _Run) -> None:
        if sum(len(other.pending) for other in self._runs.values()) > _MOST_PENDING:
            # A journal with a gap would be read as a whole one: the run keeps its beginning only.
            run.lost = True
            _LOG.error(
                "The journal of run %s ends early: %d documents wait in memory already. The burst "
                "files are safe; make room in %s.",
                run.uid,
                _MOST_PENDING,
                self._folder,
            )
            run.pending.pop()

    def _flush(self, run: _Run) -> None:
        try:
            if run.pending and run.writer is None:
                run.writer = JournalWriter(self._folder, run.uid)
            while run.pending and run.writer is not None:
                run.writer.append_line(*run.pending[0])
                run.pending.popleft()
            if run.stopped and not run.pending:
                self._forget(run)
        except Exception as error:  # noqa: BLE001 - as above
            self._complain(run, error)

    def _forget(self, run: _Run) -> None:
        if run.writer is not None:
            run.writer.close()
        del self._runs[run.uid]
        self._run_of_descriptor = {
            descriptor: uid for descriptor, uid in self._run_of_descriptor.items() if uid != run.uid
        }

    def _complain(self, run: _Run | None, error: Exception) -> None:
        if run is not None:
            if run.complained:
                return
            run.complained = True
        _LOG.error(
            "A document of run %s could not be written to the journal in %s: %s: %s. It is tried "
            "again with the next document; the plan goes on and the burst files are safe.",
            run.uid if run is not None else "(unknown)",
            self._folder,
            type(error).__name__,
            error,
        )
