"""The processing service: follows journals, reconstructs bursts, writes everything to Tiled."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from xfusion_bluesky.catalog import Catalog, CatalogError, check_readable, connect
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.journal import SUFFIX, JournalReader, journal_path
from xfusion_bluesky.documents.paths import check_inside
from xfusion_bluesky.documents.processed import ANALYSIS_STAGE
from xfusion_bluesky.documents.raw import Burst, BurstReader
from xfusion_bluesky.processing.bursts import BurstFinder
from xfusion_bluesky.processing.child import (
    ProcessStartError,
    exit_with_parent,
    is_alive,
    start_process,
    stop_process,
)
from xfusion_bluesky.processing.engine import Engine
from xfusion_bluesky.processing.ledger import Ledger, wait_for_reconstructions
from xfusion_bluesky.processing.orphans import end_orphan
from xfusion_bluesky.processing.reprocess import RequestServer
from xfusion_bluesky.processing.requests import RequestQueue
from xfusion_bluesky.processing.tiled_server import TiledServer
from xfusion_bluesky.processing.writer import TiledJournalWriter

__all__ = ["ProcessingService", "ServiceProcess", "main", "wait_for_reconstructions"]

STATE_FILE = "service.json"
LOCK_FILE = "service.lock"
TILED_FOLDER = "tiled"
_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_ORPHAN_CHECK_S = 5.0
_LONGEST_WAIT_FOR_REFERENCE_S = 60.0
_THREAD_ENDS_S = 2.0


class ProcessingService:
    """What the service does, without process and signals around it.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders, which are made when missing.
    tell : callable
        Told, whenever that changes, why nothing can be written to Tiled; "" when it can.
    """

    def __init__(self, configuration: Configuration, tell: Callable[[str], None]) -> None:
        folders = configuration.folders
        self._journal = folders.journal
        self._roots = (folders.raw, *folders.readable)
        self._tell = tell
        self._finder = BurstFinder(folders, lambda: closing(connect_catalog(configuration)))
        self._ledger = Ledger(folders.state)
        self._end_own_orphans()
        self._engine = Engine(configuration, self._ledger)
        queue = RequestQueue(folders.state)
        self._requests = RequestServer(queue, self._engine.submit, self._finder, self._ledger)
        self._writer = TiledJournalWriter(
            self._journal, lambda: _checked_catalog(configuration), self._ledger
        )
        self._readers: dict[str, tuple[JournalReader, BurstReader]] = {}
        self._sizes: dict[str, int] = {}
        unfinished = {entry.raw_uid for entry in self._ledger.aborted()}
        self._passed_over = self._ledger.submitted() - unfinished
        self._waiting: list[tuple[float, Burst]] = []
        self._ended: set[str] = set()
        self._next_orphan_check_s = 0.0

    def run(self, ended: threading.Event) -> None:
        """Work until `ended` is set; then end every child and what it was doing."""
        self._engine.warm()
        threads = [
            threading.Thread(target=work, args=(ended,), name=name, daemon=True)
            for name, work in (("writer", self._write), ("requests", self._requests.run))
        ]
        for thread in threads:
            thread.start()
        try:
            while not ended.wait(_POLL_S):
                self.poll()
        finally:
            ended.set()
            self._engine.close()
            for thread in threads:
                thread.join(_THREAD_ENDS_S)

    def poll(self) -> None:
        """Read what is new in the journals and begin what can begin."""
        if time.monotonic() >= self._next_orphan_check_s:
            self._end_orphans_of_others()
            self._next_orphan_check_s = time.monotonic() + _ORPHAN_CHECK_S
        for entry in os.scandir(self._journal):
            uid = entry.name.removesuffix(SUFFIX)
            if entry.name.endswith(SUFFIX) and uid not in self._passed_over:
                size = entry.stat().st_size
                if self._sizes.get(uid) != size:
                    self._sizes[uid] = size
                    self._read(uid, Path(entry.path))
        waiting, self._waiting = self._waiting, []
        for since_s, burst in waiting:
            self._begin(burst, since_s)
        self._remember_submitted()

    def _read(self, uid: str, path: Path) -> None:
        journal, bursts = self._readers.setdefault(uid, (JournalReader(path), BurstReader()))
        try:
            while documents := journal.read():
                for name, document in documents:
                    if name == "start" and not _is_dual_burst(document):
                        self._pass_over(uid)
                        return
                    burst = bursts.feed(name, document)
                    if burst is not None:
                        self._begin(burst, time.monotonic())
                    if name == "stop":
                        self._ended.add(uid)
                        self._pass_over(uid)
        except Exception as error:  # noqa: BLE001 - one damaged run must not stop the others
            # Read from its beginning when it changes, which a repair does.
            self._readers.pop(uid, None)
            _LOG.error("Run %s is not reconstructed further: %s. Its files are safe.", uid, error)

    def _pass_over(self, uid: str) -> None:
        self._passed_over.add(uid)
        self._readers.pop(uid, None)
        self._sizes.pop(uid, None)

    def _remember_submitted(self) -> None:
        waiting = {burst.raw_uid for _, burst in self._waiting}
        for uid in self._ended - waiting:
            self._ledger.mark_submitted(uid)
        self._ended &= waiting

    def _begin(self, burst: Burst, since_s: float) -> None:
        check_inside(burst, self._roots)
        corrections, missing = self._finder.corrections_here(burst)
        if missing and time.monotonic() - since_s < _LONGEST_WAIT_FOR_REFERENCE_S:
            self._waiting.append((since_s, burst))
            return
        for what in missing:
            _LOG.error("Run %s is reconstructed without its %s", burst.raw_uid, what)
        self._engine.submit(burst, corrections)

    def _write(self, ended: threading.Event) -> None:
        trouble: str | None = None
        while not ended.wait(_POLL_S):
            try:
                self._writer.pump()
            except Exception:  # noqa: BLE001 - the thread must outlive what it meets
                _LOG.exception("The journals cannot be written to Tiled; trying again")
            if self._writer.trouble != trouble:
                trouble = self._writer.trouble
                self._tell(trouble)
        self._writer.close()

    def _end_own_orphans(self) -> None:
        for entry in self._ledger.running():
            path = journal_path(self._journal, entry.uid)
            if path.exists():
                _end_orphan(path, "the processing service ended unexpectedly")
            self._ledger.end(entry.uid, "abort")

    def _end_orphans_of_others(self) -> None:
        in_tiled = self._ledger.in_tiled()
        for entry in os.scandir(self._journal):
            uid = entry.name.removesuffix(SUFFIX)
            if entry.name.endswith(SUFFIX) and uid not in in_tiled:
                _end_orphan(Path(entry.path), "the process that acquired it ended unexpectedly")


def _end_orphan(path: Path, reason: str) -> None:
    try:
        if end_orphan(path, reason):
            _LOG.warning("Run %s was closed as abort: %s", path.name.removesuffix(SUFFIX), reason)
    except (OSError, ValueError) as error:
        _LOG.error("Run %s has no stop document and gets none: %s", path.name, error)


def _is_dual_burst(start: Mapping[str, Any]) -> bool:
    processed = start.get("analysis_stage") == ANALYSIS_STAGE
    return not processed and start.get("purpose") == "dual-burst"


def connect_catalog(configuration: Configuration) -> Catalog:
    """Return the catalogue that a configuration names.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.

    Raises
    ------
    CatalogError
        No server answers, or it refuses.
    """
    tiled = configuration.tiled
    if tiled.embedded:
        folder = configuration.folders.state / TILED_FOLDER
        server = TiledServer.running(folder)
        if server is None:
            raise CatalogError(
                f"The embedded Tiled server of {folder} does not run. 'xfusion-bluesky sim start' "
                "starts it; it writes server.log there. Journals keep all documents meanwhile: the "
                "data are safe."
            )
        return Catalog(connect(server.uri, api_key=server.api_key), tiled.path)
    key = tiled.api_key
    secret = None if key is None else key.get_secret_value()
    return Catalog(connect(tiled.uri, tiled.profile, secret), tiled.path)


def _checked_catalog(configuration: Configuration) -> Catalog:
    catalog = connect_catalog(configuration)
    try:
        for folder in (configuration.folders.raw, configuration.folders.processed):
            check_readable(catalog, folder)
    except BaseException:
        catalog.close()
        raise
    return catalog


@dataclass(frozen=True)
class ServiceProcess:
    """A processing service in a process of its own; a context manager that stops it."""

    state_folder: Path
    """State folder of its configuration."""
    pid: int
    """Process id."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def start(
        cls,
        config_path: Path,
        log: Path | None = None,
        *,
        timeout_s: float = 60.0,
        detached: bool = False,
    ) -> ServiceProcess:
        """Start a service and wait until it is ready.

        Parameters
        ----------
        config_path : Path
            Configuration file.
        log : Path, optional
            Where it writes what it does; default ``logs/service.log`` in the state folder.
        timeout_s : float
            Longest wait.
        detached : bool
            The service outlives this process.

        Raises
        ------
        ProcessStartError
            One runs already, or it did not become ready.
        """
        state = Configuration.load(config_path).folders.state
        if (live := cls.running(state)) is not None:
            raise ProcessStartError(_already(state, live.pid))
        command = [sys.executable, "-m", __name__, "--config", str(config_path.absolute())]
        if not detached:
            command.append("--with-parent")

        def ready(process: subprocess.Popen[bytes]) -> int | None:
            live = cls.running(state)
            return process.pid if live is not None and live.pid == process.pid else None

        process, pid = start_process(
            command,
            what=f"the processing service of {config_path}",
            log=log or state / "logs" / "service.log",
            ready=ready,
            timeout_s=timeout_s,
            detached=detached,
        )
        return cls(state, pid, process)

    @classmethod
    def running(cls, state_folder: Path) -> ServiceProcess | None:
        """Return the service that runs on a state folder, or None."""
        try:
            pid = int(json.loads((state_folder / STATE_FILE).read_text())["pid"])
        except FileNotFoundError:
            return None
        return cls(state_folder, pid) if is_alive(pid) else None

    @property
    def tiled_trouble(self) -> str:
        """Why nothing can be written to Tiled now; "" when it can."""
        try:
            return str(json.loads((self.state_folder / STATE_FILE).read_text())["tiled_trouble"])
        except (FileNotFoundError, KeyError):
            return "the service has ended"

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the service, by force after `timeout_s` seconds; one that has ended is fine."""
        if self._process is not None:
            stop_process(self._process, timeout_s)
        elif self.running(self.state_folder) == self:
            stop_process(self.pid, timeout_s)

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name.
    """
    parser = argparse.ArgumentParser(description="Reconstruct bursts and write runs to Tiled.")
    parser.add_argument("--config", type=Path, required=True, help="configuration file")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if options.with_parent:
        exit_with_parent(grace_s=5.0)
    # The journal is our way to try again; the client would repeat for 45 s and hide the trouble.
    os.environ.setdefault("TILED_RETRY_ATTEMPTS", "2")
    configuration = Configuration.load(options.config)
    folders = configuration.folders
    for _, folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    state_file = folders.state / STATE_FILE
    with _exclusive(folders.state):
        service = ProcessingService(configuration, lambda trouble: _announce(state_file, trouble))
        _announce(state_file, "not connected yet")
        try:
            service.run(ended)
        finally:
            state_file.unlink(missing_ok=True)


def _announce(path: Path, trouble: str) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps({"pid": os.getpid(), "tiled_trouble": trouble}))
    draft.replace(path)


@contextlib.contextmanager
def _exclusive(state: Path) -> Iterator[None]:
    # The kernel drops this lock however the process ends.
    with (state / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(_already(state, "another"))
        yield


def _already(state: Path, pid: int | str) -> str:
    return (
        f"Refused to start a second processing service on {state}: process {pid} does that work "
        "already. Use it, or stop it first. The data are safe."
    )


if __name__ == "__main__":
    main()
