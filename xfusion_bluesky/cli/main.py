"""The command `xfusion-bluesky`. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..calibration.errors import CalibrationError
from ..catalog import CatalogError
from ..configuration import FILE_NAME, ConfigurationError, template
from ..processing.child import ProcessStartError
from . import runs
from .calibrate import calibrate_command
from .calibration import calibration
from .console import console_command
from .data import data
from .doctor import doctor_command
from .import_xfusion import import_xfusion_command
from .infer import infer_command
from .installation import console
from .plugins import plugins
from .preflight import preflight_command
from .runs import score_table
from .sim import sim
from .sync import sync_command

app = typer.Typer(
    name="xfusion-bluesky",
    help="X-ray movies that are sharp and fast, from two cameras.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; an expected failure is one line and exit code 2."""
    try:
        app()
    except (
        CalibrationError,
        CatalogError,
        ConfigurationError,
        FileNotFoundError,
        LookupError,
        ConnectionError,
        ProcessStartError,
    ) as error:
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
    from ..demo import demonstration
    from ..viewer.calibration_numbers import one_line

    with (
        console.status("Two cameras, one plan, one fused movie ..."),
        demonstration(folder, keep=keep) as result,
    ):
        console.print(score_table(list(result.scores)))
        console.print(f"calibration        {result.calibration_uid}")
        console.print(f"                   {one_line(result.calibration)}")
        console.print(f"raw run            {result.raw_uid}")
        console.print(f"first fused frame  {result.first_fused_s:.1f} s after the burst was closed")
        console.print(f"picture            {result.picture}", soft_wrap=True)
        console.print(f"movie              {result.movie}", soft_wrap=True)
        state = "running" if keep else "stopped now; --keep leaves it running"
        console.print(f"Tiled              {result.web_uri} ({state})", soft_wrap=True)
    if keep:
        console.print(f"stop everything:   xfusion-bluesky sim stop --config {folder / FILE_NAME}")


app.command("console")(console_command)
app.command("doctor")(doctor_command)
app.command("preflight")(preflight_command)
app.add_typer(sim, name="sim")
app.add_typer(plugins, name="plugins")
app.command("calibrate")(calibrate_command)
app.add_typer(calibration, name="calibration")
app.add_typer(runs.app)
app.command("sync")(sync_command)
app.command("infer")(infer_command)
app.command("import-xfusion")(import_xfusion_command)
app.add_typer(data, name="data")
