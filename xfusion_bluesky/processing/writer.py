"""Brings journals into Tiled, each run in order, again and again until it is there."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfusion_bluesky.catalog import Catalog
from xfusion_bluesky.documents.journal import SUFFIX, JournalReader
from xfusion_bluesky.documents.processed import ANALYSIS_STAGE
from xfusion_bluesky.processing.ledger import Ledger

_LOG = logging.getLogger(__name__)
_BATCH = 16
# Enough for the first file of fused frames, so that every run shows its first frames early.
_MOST_AT_A_TURN = 24
_SLOW_FRAME_MS = 500.0
_LONGEST_BACKOFF_S = 60.0


class _Run:
    def __init__(self, path: Path, *, known: bool) -> None:
        self.uid = path.name.removesuffix(SUFFIX)
        self.path = path
        self.failures = 0
        self.retry_at_s = 0.0
        self.known = known  # whether Tiled has anything of it is known: it has not
        self.forget()

    def forget(self) -> None:
        self.size = -1
        self.reader = JournalReader(self.path)
        self.waiting: list[tuple[str, dict[str, Any]]] = []
        self.write: Any = None
        self.kind = "raw"
        self.number_keys: dict[str, frozenset[str]] = {}

    def take(self, documents: list[tuple[str, dict[str, Any]]]) -> None:
        """Queue documents that were read from the journal."""
        if documents and documents[0][0] == "start":
            processed = documents[0][1].get("analysis_stage") == ANALYSIS_STAGE
            self.kind = "processed" if processed else "raw"
        self.waiting += documents

    @property
    def ready(self) -> bool:
        """Whether there is something to write and it is known how."""
        begun = self.write is not None
        return bool(self.waiting) and (begun or _batch_size(self.kind, self.waiting) is not None)


class TiledJournalWriter:
    """Follows all journals of a folder and writes them to Tiled.

    A write that fails costs a delay: the partial run is deleted and the journal replayed.

    Parameters
    ----------
    folder : Path
        Journal folder.
    catalog : Catalog
        Where to.
    ledger : Ledger
        Remembers which runs are there.
    """

    def __init__(self, folder: Path, catalog: Catalog, ledger: Ledger) -> None:
        self._folder, self._catalog, self._ledger = folder, catalog, ledger
        self._done = ledger.in_tiled()
        self._runs: dict[str, _Run] = {}
        self._old = {entry.name for entry in os.scandir(folder)} if folder.exists() else set()

    def pump(self) -> int:
        """Write what is new.

        Returns
        -------
        int
            Documents that were written.
        """
        written = 0
        for run in self._with_news():
            try:
                written += self._write(run)
                run.failures = 0
            except Exception as error:  # noqa: BLE001 - the server may be away; others go on
                self._put_off(run, error)
        return written

    def _with_news(self) -> list[_Run]:
        """Return the runs that have something to write, fused ones first: people wait for those."""
        runs = []
        for entry in sorted(os.scandir(self._folder), key=lambda e: e.stat().st_mtime_ns):
            uid = entry.name.removesuffix(SUFFIX)
            if uid in self._done or not entry.name.endswith(SUFFIX):
                continue
            known = entry.name not in self._old
            run = self._runs.setdefault(uid, _Run(Path(entry.path), known=known))
            size = entry.stat().st_size
            if time.monotonic() < run.retry_at_s or (size == run.size and not run.waiting):
                continue
            if size != run.size:
                try:
                    run.take(run.reader.read())
                    run.size = size
                except (OSError, ValueError) as error:
                    self._put_off(run, error)
                    continue
            if run.ready:
                runs.append(run)
        return sorted(runs, key=lambda run: run.kind == "raw")

    def _put_off(self, run: _Run, error: Exception) -> None:
        run.failures += 1
        delay_s = min(_LONGEST_BACKOFF_S, 0.5 * 2**run.failures)
        _LOG.error(
            "Run %s could not be written to Tiled: %s: %s. It is written again, from its journal "
            "%s, in %g s; the data are safe.",
            run.uid,
            type(error).__name__,
            error,
            run.path,
            delay_s,
        )
        run.forget()
        run.known = False
        run.retry_at_s = time.monotonic() + delay_s

    def _write(self, run: _Run) -> int:
        if not run.known:
            if self._catalog.has_stop(run.uid):
                self._finish(run)
                return 0
            self._catalog.delete_run(self._container(run), run.uid)
            run.known = True
        if run.write is None:
            batch_size = _batch_size(run.kind, run.waiting) or _BATCH
            run.write = self._catalog.writer(self._container(run), batch_size)
        turn = run.waiting[:_MOST_AT_A_TURN]
        for name, document in turn:
            run.write(name, _without_nulls(run, name, document))
            if name == "stop":
                self._finish(run)
        del run.waiting[: len(turn)]
        return len(turn)

    def _container(self, run: _Run) -> Any:
        return self._catalog.processed if run.kind == "processed" else self._catalog.raw

    def _finish(self, run: _Run) -> None:
        self._ledger.mark_in_tiled(run.uid, run.kind)
        self._done.add(run.uid)
        self._runs.pop(run.uid, None)


def _batch_size(kind: str, documents: list[tuple[str, dict[str, Any]]]) -> int | None:
    """Return how many events to write together; None while that cannot be told."""
    if kind == "raw":
        return 1
    for name, document in documents:
        if name == "event":
            return 1 if (document["data"].get("elapsed_ms") or 0.0) > _SLOW_FRAME_MS else _BATCH
        if name == "stop":
            return _BATCH
    return None


def _without_nulls(run: _Run, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has no NaN; a table column of numbers takes no null.
    if name == "descriptor":
        run.number_keys[document["uid"]] = frozenset(
            key for key, value in document["data_keys"].items() if value["dtype"] == "number"
        )
    if name != "event":
        return dict(document)
    numbers = run.number_keys.get(document["descriptor"], frozenset())
    data = {
        key: math.nan if value is None and key in numbers else value
        for key, value in document["data"].items()
    }
    return {**document, "data": data}
