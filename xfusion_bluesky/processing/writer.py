"""Brings journals into Tiled, each run in order, again and again until it is there."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfusion_bluesky.catalog import Catalog, CatalogError
from xfusion_bluesky.documents.journal import SUFFIX, JournalReader
from xfusion_bluesky.processing.ledger import Ledger

if TYPE_CHECKING:
    from xfusion_bluesky.run_writer import RunWriter

_LOG = logging.getLogger(__name__)
# Of a fused run, enough for its first file of frames, so that every run shows those early.
_MOST_AT_A_TURN = {"processed": 24, "raw": 500}
_LONGEST_BACKOFF_S = 30.0
_STARTING_TOGETHER = 7
_TOO_LARGE = 413
_NOT_ALLOWED = (401, 403)


class _Run:
    def __init__(self, path: Path, *, known: bool) -> None:
        self.uid = path.name.removesuffix(SUFFIX)
        self.path = path
        self.failures = 0
        self.retry_at_s = 0.0
        self.most_at_a_turn = max(_MOST_AT_A_TURN.values())
        self.known = known  # whether Tiled has anything of it is known: it has not
        self.rewind()

    def rewind(self) -> None:
        self.reader = JournalReader(self.path)
        self.waiting: list[tuple[str, dict[str, Any]]] = []
        self.write: RunWriter | None = None
        self.kind = "raw"
        self.number_keys: dict[str, frozenset[str]] = {}

    def read(self) -> None:
        """Read on in the journal, unless something read before still waits."""
        if self.waiting:
            return
        self.waiting = self.reader.read()
        if self.write is None and self.waiting and self.waiting[0][0] == "start":
            # Whatever was computed from raw runs: fusions, calibrations.
            self.kind = "processed" if "analysis_stage" in self.waiting[0][1] else "raw"


class TiledJournalWriter:
    """Follows all journals of a folder and writes them to Tiled.

    A write that fails costs a delay: the partial run is deleted and the journal replayed. A server
    that does not answer costs a new connection.

    Parameters
    ----------
    folder : Path
        Journal folder.
    connect : callable
        Returns the catalogue, or raises CatalogError.
    ledger : Ledger
        Remembers which runs are there.
    """

    def __init__(self, folder: Path, connect: Callable[[], Catalog], ledger: Ledger) -> None:
        self._folder, self._connect, self._ledger = folder, connect, ledger
        self._catalog: Catalog | None = None
        self._failures = 0
        self._connect_at_s = 0.0
        self._changes = -1
        self._done: set[str] = set()
        self._runs: dict[str, _Run] = {}
        self._old = {entry.name for entry in os.scandir(folder)} if folder.exists() else set()
        self.trouble = "not connected yet"
        """Why nothing can be written at all; empty while the catalogue answers."""

    def pump(self) -> int:
        """Write what is new.

        Returns
        -------
        int
            Documents that were written.
        """
        if not self._connected():
            return 0
        written = 0
        for run in self._with_news():
            try:
                written += self._write(run)
            except Exception as error:  # noqa: BLE001 - whatever happens, the journal is replayed
                self._put_off(run, error)
                if _is_about_all(error):
                    self._disconnect(error)
                    break
        return written

    def close(self) -> None:
        """Close the connection; what was not written is written by the next writer."""
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    def _connected(self) -> bool:
        if self._catalog is None and time.monotonic() >= self._connect_at_s:
            try:
                self._catalog = self._connect()
            except Exception as error:  # noqa: BLE001 - a server may fail in any way, and come back
                self._wait(error)
            else:
                self._failures, self.trouble = 0, ""
                _LOG.info("Connected to Tiled")
        return self._catalog is not None

    def _disconnect(self, error: Exception) -> None:
        self.close()
        for run in self._runs.values():
            # What a run's writer knows of the server goes with the connection.
            if run.write is not None:
                run.rewind()
                run.known = False
        self._wait(error)

    def _wait(self, error: Exception) -> None:
        self._failures += 1
        delay_s = _backoff_s(self._failures)
        self._connect_at_s = time.monotonic() + delay_s
        trouble = " ".join(str(error).split()) or type(error).__name__
        if trouble != self.trouble or self._failures == _STARTING_TOGETHER:
            # A server that starts together with us is no error yet.
            level = logging.ERROR if self._failures >= _STARTING_TOGETHER else logging.INFO
            _LOG.log(level, "%s Journals keep all documents; trying again.", trouble)
        self.trouble = trouble

    def _with_news(self) -> list[_Run]:
        """Return the runs that have something to write, fused ones first: people wait for those."""
        changes = self._ledger.changes()
        if changes != self._changes:
            self._changes, self._done = changes, self._ledger.in_tiled()
        entries = [
            (entry.stat().st_mtime_ns, entry)
            for entry in os.scandir(self._folder)
            if entry.name.endswith(SUFFIX) and entry.name.removesuffix(SUFFIX) not in self._done
        ]
        runs = []
        for _, entry in sorted(entries, key=lambda pair: pair[0]):
            uid = entry.name.removesuffix(SUFFIX)
            if uid not in self._runs:
                self._runs[uid] = _Run(Path(entry.path), known=entry.name not in self._old)
            run = self._runs[uid]
            if time.monotonic() < run.retry_at_s:
                continue
            try:
                run.read()
            except (OSError, ValueError) as error:
                self._put_off(run, error)
                continue
            if run.waiting:
                runs.append(run)
        return sorted(runs, key=lambda run: run.kind == "raw")

    def _put_off(self, run: _Run, error: Exception) -> None:
        run.failures += 1
        delay_s = _backoff_s(run.failures)
        if _status(error) == _TOO_LARGE:
            run.most_at_a_turn = max(1, run.most_at_a_turn // 4)
        _LOG.error(
            "Run %s could not be written to Tiled: %s: %s. It is written again, from its journal "
            "%s, in %g s; the data are safe.",
            run.uid,
            type(error).__name__,
            error,
            run.path,
            delay_s,
        )
        run.rewind()
        run.known = False
        run.retry_at_s = time.monotonic() + delay_s

    def _write(self, run: _Run) -> int:
        if self._catalog is None:
            return 0
        container = self._catalog.processed if run.kind == "processed" else self._catalog.raw
        if not run.known:
            if self._catalog.has_stop(run.uid):
                self._finish(run)
                return 0
            self._catalog.delete_run(container, run.uid)
            run.known = True
        if run.write is None:
            run.write = self._catalog.writer(container)
        turn = run.waiting[: min(run.most_at_a_turn, _MOST_AT_A_TURN[run.kind])]
        for name, document in turn:
            run.write(name, _without_nulls(run, name, document))
        if turn[-1][0] == "stop":
            self._finish(run)
        else:
            run.write.flush()
        del run.waiting[: len(turn)]
        return len(turn)

    def _finish(self, run: _Run) -> None:
        self._ledger.mark_in_tiled(run.uid, run.kind)
        self._done.add(run.uid)
        self._runs.pop(run.uid, None)


def _backoff_s(failures: int) -> float:
    return float(min(_LONGEST_BACKOFF_S, 0.25 * 1.5 ** min(failures, 20)))


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_about_all(error: Exception) -> bool:
    """Whether an error is the server's or the connection's, not one of this run."""
    import httpx

    if isinstance(error, httpx.TransportError | CatalogError):
        return True
    return _status(error) in _NOT_ALLOWED


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
