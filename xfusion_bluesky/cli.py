"""The command `xfusion-bluesky`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from .configuration import FILE_NAME, Configuration, ConfigurationError, template

if TYPE_CHECKING:
    from .catalog import Catalog
    from .viewer.report import Score

app = typer.Typer(
    name="xfusion-bluesky",
    help="X-ray movies that are sharp and fast, from two cameras.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
sim = typer.Typer(help="The simulated beamline of this folder.", no_args_is_help=True)
plugins = typer.Typer(help="Reconstruction backends.", no_args_is_help=True)
app.add_typer(sim, name="sim")
app.add_typer(plugins, name="plugins")
console = Console()

ConfigOption = Annotated[
    Path, typer.Option("--config", help="Configuration file; defaults apply where there is none.")
]
DEFAULT_CONFIG = Path(FILE_NAME)


def main() -> None:
    """Run the command line; an expected failure is one line and exit code 2."""
    try:
        app()
    except (ConfigurationError, FileNotFoundError, LookupError, ConnectionError) as error:
        print(f"xfusion-bluesky: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path()) -> None:
    """Write a commented configuration file with every key at its default."""
    path = folder / FILE_NAME
    if path.exists():
        raise ConfigurationError(f"{path} exists already; nothing was written.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(template(), encoding="utf-8")
    console.print(f"Wrote {path}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("xfusion-demo"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running.")] = False,
) -> None:
    """Run the whole line on a simulated beamline that replays real x-ray data."""
    from .demo import demonstration

    with (
        console.status("Two cameras, one plan, one fused movie ..."),
        demonstration(folder, keep=keep) as result,
    ):
        console.print(_table(list(result.scores)))
        console.print(f"raw run            {result.raw_uid}")
        console.print(f"first fused frame  {result.first_fused_s:.1f} s after the burst was closed")
        console.print(f"picture            {result.picture}", soft_wrap=True)
        console.print(f"movie              {result.movie}", soft_wrap=True)
        state = "running" if keep else "stopped now; --keep leaves it running"
        console.print(f"Tiled              {result.web_uri} ({state})", soft_wrap=True)
    if keep:
        console.print(f"stop everything:   xfusion-bluesky sim stop --config {folder / FILE_NAME}")


@sim.command()
def start(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Start the simulated IOCs, the Tiled server and the reconstruction service."""
    from .processing.service import ServiceProcess
    from .processing.tiled_server import TiledServer
    from .simulation import Simulation

    configuration = _configuration(config)
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
    from .processing.service import ServiceProcess
    from .processing.tiled_server import TiledServer
    from .simulation import Simulation

    state = _configuration(config).folders.state
    simulation = Simulation.running(state)
    server = TiledServer.running(state / "tiled")
    service = ServiceProcess.running(state)
    console.print(f"IOCs     {_pid(simulation)}")
    console.print(f"Tiled    {_pid(server)}{f', {server.uri}' if server else ''}", soft_wrap=True)
    console.print(f"service  {_pid(service)}")


@sim.command()
def stop(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Stop what `sim start` or `demo --keep` left running; data and catalogue stay."""
    from .processing.service import ServiceProcess
    from .processing.tiled_server import TiledServer
    from .simulation import Simulation

    state = _configuration(config).folders.state
    for process in (
        ServiceProcess.running(state),
        TiledServer.running(state / "tiled"),
        Simulation.running(state),
    ):
        if process is not None:
            process.stop()
    status(config)


@plugins.command("list")
def plugins_list(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List the installed backends, and the plugins that could not be loaded."""
    from .backends.registry import Registry

    configuration = _configuration(config)
    registry = Registry.discover(configuration.plugins.allow, configuration.plugins.block)
    table = Table("backend", "version", "distribution", "needs HR", "what it does", "state")
    for identifier, backend in registry.factories.items():
        info = backend.factory.info
        table.add_row(
            identifier,
            info.version,
            f"{backend.distribution} {backend.version}",
            "yes" if info.needs_hr else "no",
            info.summary,
            info.unavailable or "available",
        )
    console.print(table)
    for plugin in registry.quarantined:
        console.print(
            f"[bold red]not loaded[/]: {plugin.plugin} ({plugin.distribution} {plugin.version}): "
            f"{plugin.reason} {plugin.fix}",
            soft_wrap=True,
        )


@app.command()
def runs(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List the raw runs in Tiled, newest first, and how many reconstructions each has."""
    catalog = _catalog(_configuration(config))
    table = Table("scan", "uid", "plan", "purpose", "sample", "bursts", "status", "fused")
    for uid in reversed(list(catalog.raw)):
        run = catalog.raw[uid]
        start, stop = run.metadata["start"], run.metadata.get("stop") or {}
        table.add_row(
            str(start.get("scan_id", "")),
            uid[:8],
            str(start.get("plan_name", "")),
            str(start.get("purpose", "")),
            str(start.get("sample_name", "")),
            str(stop.get("num_events", {}).get("primary", "")),
            stop.get("exit_status", "open"),
            str(len(catalog.reconstructions_of(uid))),
        )
    console.print(table)
    catalog.close()


@app.command()
def show(
    uid: Annotated[str, typer.Argument(help="Raw or processed run: uid, its beginning, scan id.")],
    config: ConfigOption = DEFAULT_CONFIG,
    output: Annotated[Path, typer.Option(help="Folder for picture and movie.")] = Path(),
) -> None:
    """Show a run's reconstructions: table, PNG strip and MP4 movie."""
    from .viewer.report import read_reconstruction, runs_of_burst, save_report

    configuration = _configuration(config)
    catalog = _catalog(configuration)
    found = runs_of_burst(catalog, uid)
    if not found:
        raise LookupError(f"Run {uid} has no finished reconstruction yet; see 'runs'.")
    console.print(_table([read_reconstruction(run).score for run in found]))
    for path in save_report(configuration.folders.journal, found, output):
        console.print(str(path), soft_wrap=True)
    catalog.close()


def _table(scores: list[Score]) -> Table:
    table = Table("run", "burst", "backend", "status", "frames", "PSNR dB", "SSIM", "ms/frame")
    for score in scores:
        table.add_row(
            score.uid[:8],
            str(score.seq_num),
            score.backend,
            score.status,
            str(score.frames),
            f"{score.psnr_db:.2f}",
            f"{score.ssim:.4f}",
            f"{score.frame_ms:.2f}",
        )
    return table


def _configuration(path: Path) -> Configuration:
    if path.exists():
        return Configuration.load(path)
    if path != DEFAULT_CONFIG:
        raise ConfigurationError(f"There is no configuration file {path}.")
    return Configuration().located(Path())


def _catalog(configuration: Configuration) -> Catalog:
    from .catalog import Catalog, connect
    from .processing.tiled_server import TiledServer

    tiled = configuration.tiled
    if not tiled.embedded:
        key = tiled.api_key.get_secret_value() if tiled.api_key else None
        return Catalog(connect(uri=tiled.uri, profile=tiled.profile, api_key=key), tiled.path)
    server = TiledServer.running(configuration.folders.state / "tiled")
    if server is None:
        raise ConnectionError(
            "The embedded Tiled server does not run; 'xfusion-bluesky sim start' starts it. "
            "The data are safe in its folder."
        )
    return Catalog(connect(uri=server.uri, api_key=server.api_key), tiled.path)


def _pid(process: object) -> str:
    return f"process {process.pid}" if process is not None else "not running"  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
