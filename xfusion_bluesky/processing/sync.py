"""Completes what is missing: damaged journals, runs not in Tiled, runs not reconstructed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from xfusion_bluesky.catalog import Catalog
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.journal import SUFFIX, read_journal
from xfusion_bluesky.processing.ledger import Ledger
from xfusion_bluesky.processing.orphans import has_stop, repair
from xfusion_bluesky.processing.requests import ReconstructionRequest, RequestQueue
from xfusion_bluesky.processing.service import ServiceProcess, connect_catalog

__all__ = ["Missing", "synchronise"]

_POLL_S = 0.1


@dataclass(frozen=True)
class Missing:
    """What is not complete.

    Parameters
    ----------
    not_in_tiled : frozenset of str
        Uids of runs whose journal is not, or not wholly, in Tiled.
    open_runs : frozenset of str
        Those of them that are still being acquired or made.
    running : frozenset of str
        Uids of reconstructions that were begun and have not ended.
    """

    not_in_tiled: frozenset[str]
    open_runs: frozenset[str]
    running: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.not_in_tiled - self.open_runs or self.running)


def synchronise(
    config_path: Path,
    backends: tuple[str, ...],
    say: Callable[[str], None],
    patience_s: float = 60.0,
) -> Missing:
    """Bring everything there is into Tiled and reconstruct what was not; return what is missing.

    The processing service does the work; where none runs, one is started for as long as it takes.

    Parameters
    ----------
    config_path : Path
        Configuration file.
    backends : tuple of str
        Backends for runs in Tiled that have no reconstruction and no journal here.
    say : callable
        Told, a line each, what was found and done.
    patience_s : float
        Give up after so many seconds without any progress.

    Raises
    ------
    CatalogError
        Tiled does not answer.
    """
    configuration = Configuration.load(config_path)
    folders = configuration.folders
    with (
        closing(connect_catalog(configuration)) as catalog,
        closing(Ledger(folders.state)) as ledger,
    ):
        _repair_journals(folders.journal, ledger, say)
        _verify(catalog, folders.journal, ledger, say)
        _request_unreconstructed(configuration, catalog, ledger, backends, say)
        service = ServiceProcess.running(folders.state)
        with nullcontext(service) if service else ServiceProcess.start(config_path) as working:
            return _follow(folders.journal, ledger, working, say, patience_s)


def _repair_journals(journal: Path, ledger: Ledger, say: Callable[[str], None]) -> None:
    done = ledger.in_tiled()
    for path in sorted(journal.glob(f"*{SUFFIX}")):
        if path.stem in done:
            continue
        try:
            for _ in read_journal(path):
                pass
        except ValueError:
            try:
                repaired = repair(path)
            except (BlockingIOError, ValueError) as error:
                say(f"run {path.stem}: not repaired: {error}")
                continue
            if repaired is not None:
                say(
                    f"run {path.stem}: journal repaired, {repaired.kept} documents kept, "
                    f"{repaired.lost} lost; the original is {repaired.original}"
                )


def _verify(catalog: Catalog, journal: Path, ledger: Ledger, say: Callable[[str], None]) -> None:
    there = {*catalog.raw, *catalog.processed}
    here = {path.stem for path in journal.glob(f"*{SUFFIX}")}
    gone = (ledger.in_tiled() & here) - there
    ledger.forget_in_tiled(gone)
    for uid in sorted(gone):
        say(f"run {uid}: was in Tiled and is not any more; written again from its journal")


def _request_unreconstructed(
    configuration: Configuration,
    catalog: Catalog,
    ledger: Ledger,
    backends: tuple[str, ...],
    say: Callable[[str], None],
) -> None:
    parameters = configuration.reconstruction.parameters
    queue = RequestQueue(configuration.folders.state)
    journal = configuration.folders.journal
    for uid, run in catalog.raw.items():
        start = run.metadata["start"]
        if start.get("purpose") != "dual-burst" or (journal / f"{uid}{SUFFIX}").exists():
            continue
        if run.metadata.get("stop") and not catalog.reconstructions_of(uid):
            request = ReconstructionRequest(
                raw_uid=uid, backends={each: dict(parameters.get(each, {})) for each in backends}
            )
            queue.submit(request)
            say(f"run {uid}: has no reconstruction; requested {', '.join(backends)}")


def _follow(
    journal: Path,
    ledger: Ledger,
    service: ServiceProcess,
    say: Callable[[str], None],
    patience_s: float,
) -> Missing:
    shown = ledger.in_tiled()
    ended = {entry.uid for entry in ledger.attempts() if entry.state != "running"}
    progress_s = time.monotonic()
    while True:
        now_shown = ledger.in_tiled()
        for uid in sorted(now_shown - shown):
            say(f"run {uid}: written to Tiled")
        attempts = {entry.uid: entry for entry in ledger.attempts()}
        now_ended = {uid for uid, entry in attempts.items() if entry.state != "running"}
        for uid in sorted(now_ended - ended):
            entry = attempts[uid]
            say(f"run {entry.raw_uid}: burst {entry.seq_num} reconstructed as {uid}: {entry.state}")
        if (now_shown, now_ended) != (shown, ended):
            progress_s = time.monotonic()
        shown, ended = now_shown, now_ended
        missing = _missing(journal, shown, frozenset(attempts) - ended)
        pending = RequestQueue(service.state_folder).pending()
        if not missing and not pending:
            return missing
        if time.monotonic() - progress_s > patience_s:
            trouble = service.tiled_trouble
            say(f"no progress for {patience_s:g} s{': ' + trouble if trouble else ''}")
            return missing
        time.sleep(_POLL_S)


def _missing(journal: Path, shown: set[str], running: frozenset[str]) -> Missing:
    paths = [path for path in journal.glob(f"*{SUFFIX}") if path.stem not in shown]
    return Missing(
        frozenset(path.stem for path in paths),
        frozenset(path.stem for path in paths if not has_stop(path)),
        running,
    )
