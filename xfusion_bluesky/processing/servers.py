"""The two processes of an installation: embedded Tiled server and processing service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.processing.service import TILED_FOLDER, ServiceProcess
from xfusion_bluesky.processing.tiled_server import TiledServer


def start_servers(
    config_path: Path, *, detached: bool
) -> tuple[TiledServer | None, ServiceProcess]:
    """Start what does not run yet, both at once: the service waits for Tiled by itself.

    Parameters
    ----------
    config_path : Path
        Configuration file; the folders it names are made.
    detached : bool
        They outlive this process.

    Returns
    -------
    server : TiledServer or None
        None where the configuration names a server of somebody else.
    service : ServiceProcess

    Raises
    ------
    ProcessStartError
        One of them did not become ready; what the other started keeps running.
    """
    configuration = Configuration.load(config_path)
    folders, tiled = configuration.folders, configuration.tiled
    own = (folders.raw, folders.processed, folders.journal, folders.state)
    for folder in own:
        folder.mkdir(parents=True, exist_ok=True)

    def server() -> TiledServer | None:
        if not tiled.embedded:
            return None
        place = folders.state / TILED_FOLDER
        readable = [folders.raw, folders.processed, *folders.readable]
        return TiledServer.running(place) or TiledServer.start(
            place, readable, port=tiled.port, detached=detached
        )

    def service() -> ServiceProcess:
        return ServiceProcess.running(folders.state) or ServiceProcess.start(
            config_path, detached=detached
        )

    with ThreadPoolExecutor(2) as pool:
        starting = pool.submit(server), pool.submit(service)
    return starting[0].result(), starting[1].result()
