"""Tiled: whether it answers, lets us write, reads our files, and keeps the time."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from ..catalog import Catalog, CatalogError, UnreadableFolder, check_readable
from ..configuration import Configuration
from .finding import Finding, fail, ok, warn

_MOST_DRIFT_S = 1.0
_HEADER_STEP_S = 1.0


def look(configuration: Configuration, ended: threading.Event) -> Iterator[Finding]:
    """Look at the server, then at what it can do with our folders.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    ended : threading.Event
        Set when nobody listens any more.
    """
    if importlib.util.find_spec("bluesky_tiled_plugins") is None:
        yield warn(
            "server",
            "the client of Tiled is not installed: this computer writes no runs",
            "where the processing service is to run: pip install 'xfusion-bluesky[tiled]'",
        )
        return
    from ..processing.service import connect_catalog

    tiled = configuration.tiled
    try:
        catalog = connect_catalog(configuration)
    except CatalogError as error:
        start = "xfusion-bluesky sim start"
        yield fail(
            "server",
            str(error),
            start if tiled.embedded else f"correct [tiled], or the key in ${tiled.api_key_env}",
        )
        return
    try:
        address = _address(configuration)
        yield ok("server", f"{address or tiled.profile} answers and takes our key")
        for name in ("raw", "processed"):
            yield readable(catalog, name, getattr(configuration.folders, name))
        if address:
            yield clock(address)
    finally:
        catalog.close()


def readable(catalog: Catalog, name: str, folder: Path) -> Finding:
    """Look whether the server reads what is written into a folder, and lets us register it.

    Parameters
    ----------
    catalog : Catalog
        Of the configuration.
    name : str
        Key of the folder in the configuration.
    folder : Path
        The folder.
    """
    import httpx

    subject = f"reads {name}"
    try:
        check_readable(catalog, folder)
    except UnreadableFolder as error:
        found, _, action = str(error).partition("Allow it")
        return fail(subject, found, f"Allow it{action}")
    except httpx.HTTPStatusError as error:
        return fail(
            subject,
            f"the server refuses to register a file: {error}",
            "use a key with the scopes to read, create, write and register",
        )
    except OSError as error:
        return fail(
            subject,
            f"not tried, because {folder} cannot be written: {error.strerror or error}",
            f"look at '{name}' above",
        )
    return ok(subject, f"a file in {folder} was registered, read back and removed")


def clock(address: str) -> Finding:
    """Look whether the clock of the server agrees with that of this computer.

    Parameters
    ----------
    address : str
        Of the server.
    """
    import httpx

    proxies = urlsplit(address).hostname not in ("127.0.0.1", "localhost", "::1")
    before_s = time.time()
    answer = httpx.head(address, trust_env=proxies, timeout=5.0)
    after_s = time.time()
    if "date" not in answer.headers:
        return ok("clock", "the server does not tell its time")
    theirs_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
    # The header is cut to whole seconds, and uvicorn renews it once a second.
    drift_s = max(theirs_s - after_s, before_s - theirs_s - 2 * _HEADER_STEP_S, 0.0)
    if drift_s > _MOST_DRIFT_S:
        return warn(
            "clock",
            f"the clock of the server is {drift_s:.0f} s off that of this computer",
            "let both follow the same time server (NTP): searches by time find wrong runs",
        )
    return ok("clock", "the clock of the server agrees with that of this computer")


def _address(configuration: Configuration) -> str | None:
    from ..processing.service import TILED_FOLDER
    from ..processing.tiled_server import TiledServer

    if configuration.tiled.embedded:
        server = TiledServer.running(configuration.folders.state / TILED_FOLDER)
        return server.uri if server is not None else None
    return configuration.tiled.uri
