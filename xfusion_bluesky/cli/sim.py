"""Commands on the simulated beamline of a folder."""

from __future__ import annotations

import typer

from ..configuration import template
from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration

sim = typer.Typer(help="The simulated beamline of this folder.", no_args_is_help=True)


@sim.command()
def start(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Start the simulated IOCs, the Tiled server and the reconstruction service."""
    from ..processing.service import ServiceProcess
    from ..processing.tiled_server import TiledServer
    from ..simulation import Simulation

    configuration = load_configuration(config)
    folders = configuration.folders
    for each in (folders.raw, folders.processed, folders.journal, folders.state):
        each.mkdir(parents=True, exist_ok=True)
    if not config.exists():
        config.write_text(template(), encoding="utf-8")
    if Simulation.running(folders.state) is None:
        Simulation.start(folders.state)
    if configuration.tiled.embedded and TiledServer.running(folders.state / "tiled") is None:
        readable = [folders.raw, folders.processed]
        port = configuration.tiled.port
        TiledServer.start(folders.state / "tiled", readable, port=port, detached=True)
    if ServiceProcess.running(folders.state) is None:
        ServiceProcess.start(config, detached=True)
    status(config)


@sim.command()
def status(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say what runs, with process ids and addresses."""
    from ..processing.service import ServiceProcess
    from ..processing.tiled_server import TiledServer
    from ..simulation import Simulation

    state = load_configuration(config).folders.state
    simulation = Simulation.running(state)
    server = TiledServer.running(state / "tiled")
    service = ServiceProcess.running(state)
    console.print(f"IOCs     {_pid(simulation)}")
    console.print(f"Tiled    {_pid(server)}{f', {server.uri}' if server else ''}", soft_wrap=True)
    console.print(f"service  {_pid(service)}")


@sim.command()
def stop(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Stop what `sim start` or `demo --keep` left running; data and catalogue stay."""
    from ..processing.service import ServiceProcess
    from ..processing.tiled_server import TiledServer
    from ..simulation import Simulation

    state = load_configuration(config).folders.state
    for process in (
        ServiceProcess.running(state),
        TiledServer.running(state / "tiled"),
        Simulation.running(state),
    ):
        if process is not None:
            process.stop()
    status(config)


def _pid(process: object) -> str:
    return f"process {process.pid}" if process is not None else "not running"  # type: ignore[attr-defined]
