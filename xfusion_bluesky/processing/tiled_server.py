"""The embedded Tiled server: SQLite, DuckDB and files in one folder, served on loopback only.

Run as a process of its own, ``python -m xfusion_bluesky.processing.tiled_server --folder DIR
--readable DIR``, or from Python with `TiledServer.start`. It never runs in the RunEngine's process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from xfusion_bluesky.processing.child import (
    ProcessStartError,
    exit_with_parent,
    is_alive,
    start_process,
    stop_process,
)

API_KEY_FILE = "api_key"
ADDRESS_FILE = "server.json"
LOG_FILE = "server.log"
LOCK_FILE = "server.lock"
_LOG_BYTES = 5_000_000


@dataclass(frozen=True)
class TiledServer:
    """A running embedded Tiled server.

    Use `start` or `running` to get one; as a context manager it is stopped at the end.
    """

    folder: Path
    """Catalogue, tables, arrays, key and log of the server."""
    uri: str
    """Address for Tiled clients, without the key."""
    pid: int
    """Process id of the server."""
    api_key: str = field(repr=False)
    """Key that gives full access, also to write."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def start(
        cls,
        folder: Path,
        readable: Iterable[Path],
        *,
        port: int = 0,
        timeout_s: float = 60.0,
        detached: bool = False,
    ) -> TiledServer:
        """Start a server process and wait until it answers.

        Parameters
        ----------
        folder : Path
            Where the server keeps what it owns; made when missing.
        readable : iterable of Path
            Folders with files of cameras and reconstructions that it may read.
        port : int
            TCP port on 127.0.0.1; 0 takes a free one.
        timeout_s : float
            Longest wait for the first answer. The first start of a folder takes longer.
        detached : bool
            The server outlives this process; end it with ``TiledServer.running(folder).stop()``.

        Raises
        ------
        ProcessStartError
            The folder is served already, or the server ended or did not answer in time.
        """
        folder = folder.absolute()
        if (live := cls.running(folder)) is not None:
            raise ProcessStartError(_already_served(folder, live.pid))
        command = [sys.executable, "-m", __name__, "--folder", str(folder), "--port", str(port)]
        for path in readable:
            command += ["--readable", str(path.absolute())]
        if not detached:
            command.append("--with-parent")

        def ready(process: subprocess.Popen[bytes]) -> TiledServer | None:
            server = cls.running(folder)
            return server if server is not None and server.pid == process.pid else None

        process, server = start_process(
            command,
            what=f"the embedded Tiled server of {folder}",
            log=folder / LOG_FILE,
            ready=ready,
            timeout_s=timeout_s,
            detached=detached,
        )
        return cls(folder, server.uri, server.pid, server.api_key, process)

    @classmethod
    def running(cls, folder: Path) -> TiledServer | None:
        """Return the server that serves `folder` now, or None when none answers."""
        folder = folder.absolute()
        try:
            address = json.loads((folder / ADDRESS_FILE).read_text())
            api_key = (folder / API_KEY_FILE).read_text().strip()
        except FileNotFoundError:
            return None
        server = cls(folder, address["uri"], address["pid"], api_key)
        return server if is_alive(server.pid) and server.answers() else None

    @property
    def web_uri(self) -> str:
        """Address for a web browser. It holds the key: show it to the user, do not log it."""
        return f"{self.uri.removesuffix('/api/v1')}/?api_key={self.api_key}"

    def answers(self, timeout_s: float = 2.0) -> bool:
        """Whether the server says that it is well within `timeout_s` seconds."""
        import httpx

        health = f"{self.uri.removesuffix('/api/v1')}/healthz"
        try:
            with httpx.Client(trust_env=False, timeout=timeout_s) as client:
                return client.get(health).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the server, by force after `timeout_s` seconds; nothing happens when it has ended."""
        if self._process is not None:
            stop_process(self._process, timeout_s)
        elif self.running(self.folder) == self:
            stop_process(self.pid, timeout_s)

    def __enter__(self) -> TiledServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def main(arguments: list[str] | None = None) -> None:
    """Serve one folder until SIGTERM or Ctrl-C.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name.
    """
    parser = argparse.ArgumentParser(description="Serve one folder as a Tiled catalogue.")
    parser.add_argument("--folder", type=Path, required=True, help="what the server owns")
    parser.add_argument(
        "--readable", type=Path, action="append", default=[], help="folder that it may read, too"
    )
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    options = parser.parse_args(arguments)
    if options.with_parent:
        exit_with_parent()
    # SystemExit runs the clean-up below, whether the signal comes before, while or after serving.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder), contextlib.suppress(KeyboardInterrupt):
        try:
            _serve(folder, options.readable, options.port)
        finally:
            (folder / ADDRESS_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    # The kernel drops this lock however the process ends, so that nothing stale can stay behind.
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(_already_served(folder, "another"))
        yield


def _already_served(folder: Path, pid: int | str) -> str:
    return (
        f"Refused to start a second Tiled server on {folder}: process {pid} serves it already, and "
        f"two would damage one catalogue. Use that one (its address is in {folder / ADDRESS_FILE}) "
        "or stop it first. The data are safe."
    )


def _serve(folder: Path, readable: Iterable[Path], port: int) -> None:
    import uvicorn

    # Bound before the slow imports and before anything is written: a taken port costs nothing.
    listener = _listen(port)
    uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
    address = {"uri": f"{uri}/api/v1", "web": f"{uri}/", "pid": os.getpid()}

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _write_private(folder / ADDRESS_FILE, json.dumps(address, indent=2))

    _initialise_catalogue(folder / "catalog.db")
    configuration = uvicorn.Config(
        _application(folder, readable),
        loop="asyncio",
        log_config=_log_configuration(folder / LOG_FILE),
        # Browsers send the key in the address, which an access log would keep.
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    Server(configuration).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named: 40 ms a request else.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(
            f"Could not start the Tiled server: port {port} of 127.0.0.1 cannot be taken "
            f"({error}). Another program probably has it; choose another port, or 0 for any one. "
            "The data are safe."
        )
    return listener


def _initialise_catalogue(path: Path) -> None:
    # What `tiled catalog init` does. `from_uri(init_if_not_exists=True)` would start that command
    # as a child, at every start, and pay for all its imports again.
    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.alembic_utils import UninitializedDatabase, check_database, stamp_head
    from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
    from tiled.catalog.core import ALL_REVISIONS, REQUIRED_REVISION, initialize_database

    uri = f"sqlite+aiosqlite:///{path}"

    async def create_tables() -> bool:
        engine = create_async_engine(uri)
        try:
            await check_database(engine, REQUIRED_REVISION, ALL_REVISIONS)
        except UninitializedDatabase:
            await initialize_database(engine)
            return True
        finally:
            await engine.dispose()
        return False

    if asyncio.run(create_tables()):
        stamp_head(ALEMBIC_INI_TEMPLATE_PATH, ALEMBIC_DIR, uri)


def _application(folder: Path, readable: Iterable[Path]) -> Any:
    from bluesky_tiled_plugins.exporters import json_seq_exporter
    from tiled.catalog import from_uri
    from tiled.config import Authentication, StreamingCacheConfig
    from tiled.media_type_registration import default_serialization_registry
    from tiled.server.app import build_app

    # Without it run.documents() and databroker get "406 media types not supported".
    default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)
    (folder / "data").mkdir(exist_ok=True)
    catalogue = from_uri(
        f"sqlite:///{folder / 'catalog.db'}",
        writable_storage=[folder / "data", f"duckdb:///{folder / 'tables.duckdb'}"],
        # Tiled compares path texts: a folder behind a link is allowed under both its names.
        readable_storage=sorted({p for r in readable for p in (r.absolute(), r.resolve())}),
        cache_config=StreamingCacheConfig(uri="memory").model_dump(),
    )
    return build_app(catalogue, authentication=Authentication(single_user_api_key=_api_key(folder)))


def _api_key(folder: Path) -> str:
    path = folder / API_KEY_FILE
    if not path.exists():
        # Tiled takes alphanumeric keys only.
        _write_private(path, secrets.token_hex(32))
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".part")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def _log_configuration(path: Path) -> dict[str, Any]:
    handler = {
        "class": "logging.handlers.RotatingFileHandler",
        "filename": str(path),
        "maxBytes": _LOG_BYTES,
        "backupCount": 1,
        "formatter": "line",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"file": handler},
        "loggers": {
            name: {"handlers": ["file"], "level": "INFO", "propagate": False}
            for name in ("tiled", "uvicorn")
        },
    }


if __name__ == "__main__":
    main()
