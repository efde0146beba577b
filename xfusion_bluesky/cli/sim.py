"""Commands on the simulated beamline of a folder."""

from __future__ import annotations

import typer

from ..configuration import template
from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration

sim = typer.Typer(help="The simulated beamline of this folder.", no_args_is_help=True)


@sim.command()
def start(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Start the simulated IOCs, the Tiled server and the reconstruction service."""
    from ..processing.servers import start_servers
    from ..simulation import Simulation

    state = load_configuration(config).folders.state
    if not config.exists():
        config.write_text(template(), encoding="utf-8")
    if Simulation.running(state) is None:
        Simulation.start(state)
    start_servers(config, detached=True)
    status(config)


@sim.command()
def status(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say what runs, with process ids and addresses."""
    from ..processing.service import TILED_FOLDER, ServiceProcess
    from ..processing.tiled_server import TiledServer
    from ..simulation import Simulation

    state = load_configuration(config).folders.state
    simulation = Simulation.running(state)
    server = TiledServer.running(state / TILED_FOLDER)
    service = ServiceProcess.running(state)
    console.print(f"IOCs     {_pid(simulation)}")
    console.print(f"Tiled    {_pid(server)}{f', {server.uri}' if server else ''}", soft_wrap=True)
    trouble = service.tiled_trouble if service else ""
    console.print(
        f"service  {_pid(service)}{f'; Tiled: {trouble}' if trouble else ''}", soft_wrap=True
    )


@sim.command()
def stop(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Stop what `sim start` or `demo --keep` left running; data and catalogue stay."""
    from ..processing.service import TILED_FOLDER, ServiceProcess
    from ..processing.tiled_server import TiledServer
    from ..simulation import Simulation

    state = load_configuration(config).folders.state
    for process in (
        ServiceProcess.running(state),
        TiledServer.running(state / TILED_FOLDER),
        Simulation.running(state),
    ):
        if process is not None:
            process.stop()
    status(config)


def _pid(process: object) -> str:
    return f"process {process.pid}" if process is not None else "not running"  # type: ignore[attr-defined]
