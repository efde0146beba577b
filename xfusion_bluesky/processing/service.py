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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from xfusion_bluesky.catalog import Catalog, CatalogError, check_readable, connect
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.journal import (
    SUFFIX,
    JournalReader,
    JournalWriter,
    journal_path,
    read_journal,
)
from xfusion_bluesky.documents.processed import ANALYSIS_STAGE, orphan_stop
from xfusion_bluesky.documents.raw import Burst, BurstReader, bursts_of
from xfusion_bluesky.processing.child import (
    ProcessStartError,
    exit_with_parent,
    is_alive,
    start_process,
    stop_process,
)
from xfusion_bluesky.processing.engine import Engine
from xfusion_bluesky.processing.ledger import Ledger, wait_for_reconstructions
from xfusion_bluesky.processing.tiled_server import TiledServer
from xfusion_bluesky.processing.writer import TiledJournalWriter

__all__ = ["ProcessingService", "ServiceProcess", "main", "wait_for_reconstructions"]

STATE_FILE = "service.json"
LOCK_FILE = "service.lock"
TILED_FOLDER = "tiled"
_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_LONGEST_WAIT_FOR_REFERENCE_S = 60.0
_WRITER_ENDS_S = 2.0


class ProcessingService:
    """What the service does, without process and signals around it.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders, which are made when missing.
    catalog : Catalog
        Where runs go.
    """

    def __init__(self, configuration: Configuration, catalog: Catalog) -> None:
        self._journal = configuration.folders.journal
        self._ledger = Ledger(configuration.folders.state)
        self._end_orphans()
        self._engine = Engine(configuration, self._ledger)
        self._writer = TiledJournalWriter(self._journal, catalog, self._ledger)
        self._readers: dict[str, tuple[JournalReader, BurstReader]] = {}
        self._sizes: dict[str, int] = {}
        unfinished = {entry.raw_uid for entry in self._ledger.aborted()}
        self._passed_over = self._ledger.in_tiled() - unfinished
        self._waiting: list[tuple[float, Burst]] = []

    def run(self, ended: threading.Event) -> None:
        """Work until `ended` is set; then end every child and what it was doing."""
        self._engine.warm()
        thread = threading.Thread(target=self._write, args=(ended,), name="writer", daemon=True)
        thread.start()
        try:
            while not ended.wait(_POLL_S):
                self.poll()
        finally:
            ended.set()
            self._engine.close()
            thread.join(_WRITER_ENDS_S)

    def poll(self) -> None:
        """Read what is new in the journals and begin what can begin."""
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

    def _read(self, uid: str, path: Path) -> None:
        journal, bursts = self._readers.setdefault(uid, (JournalReader(path), BurstReader()))
        try:
            for name, document in journal.read():
                if name == "start" and (
                    document.get("analysis_stage") == ANALYSIS_STAGE
                    or document.get("purpose") != "dual-burst"
                ):
                    self._pass_over(uid)
                    return
                burst = bursts.feed(name, document)
                if burst is not None:
                    self._begin(burst, time.monotonic())
                if name == "stop":
                    self._pass_over(uid)
        except Exception:  # noqa: BLE001 - one damaged run must not stop the others
            _LOG.exception("Run %s is not reconstructed further; its files are safe", uid)
            self._pass_over(uid)

    def _pass_over(self, uid: str) -> None:
        self._passed_over.add(uid)
        self._readers.pop(uid, None)
        self._sizes.pop(uid, None)

    def _begin(self, burst: Burst, since_s: float) -> None:
        references: list[Burst | None] = []
        for key in ("dark_uid", "flat_uid"):
            uid = burst.start.get(key)
            found = None if uid is None else self._reference(str(uid))
            if uid is not None and found is None:
                if time.monotonic() - since_s < _LONGEST_WAIT_FOR_REFERENCE_S:
                    self._waiting.append((since_s, burst))
                    return
                _LOG.error("%s of run %s was not found: not corrected", key, burst.raw_uid)
            references.append(found)
        self._engine.submit(burst, references[0], references[1])

    def _reference(self, uid: str) -> Burst | None:
        path = journal_path(self._journal, uid)
        if not path.exists():
            return None
        try:
            found = bursts_of(read_journal(path))
        except (ValueError, KeyError):
            _LOG.exception("The reference run %s cannot be read", uid)
            return None
        return found[0] if found else None

    def _write(self, ended: threading.Event) -> None:
        while not ended.wait(_POLL_S):
            try:
                self._writer.pump()
            except Exception:  # noqa: BLE001 - the thread must outlive what it meets
                _LOG.exception("The journals cannot be written to Tiled; trying again")

    def _end_orphans(self) -> None:
        for entry in self._ledger.running():
            path = journal_path(self._journal, entry.uid)
            if path.exists():
                _end_orphan(path, entry.uid)
            self._ledger.end(entry.uid, "abort")


def _end_orphan(path: Path, uid: str) -> None:
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    documents = list(read_journal(path))
    if not documents or documents[-1][0] == "stop":
        return
    events = sum(name == "event" for name, _ in documents)
    stop = orphan_stop(documents[0][1], events, "the processing service ended unexpectedly")
    journal = JournalWriter(path.parent, uid)
    try:
        journal.append("stop", stop)
    finally:
        journal.close()


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
                f"The embedded Tiled server of {folder} does not run. Start it first; it writes "
                "server.log there. Journals keep all documents meanwhile: the data are safe."
            )
        return Catalog(connect(server.uri, api_key=server.api_key), tiled.path)
    key = tiled.api_key
    secret = None if key is None else key.get_secret_value()
    return Catalog(connect(tiled.uri, tiled.profile, secret), tiled.path)


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
    configuration = Configuration.load(options.config)
    folders = configuration.folders
    for _, folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folders.state):
        try:
            catalog = connect_catalog(configuration)
            for folder in (folders.raw, folders.processed):
                check_readable(catalog, folder)
        except CatalogError as error:
            sys.exit(str(error))
        service = ProcessingService(configuration, catalog)
        _announce(folders.state / STATE_FILE)
        try:
            service.run(ended)
        finally:
            (folders.state / STATE_FILE).unlink(missing_ok=True)


def _announce(path: Path) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps({"pid": os.getpid()}))
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
