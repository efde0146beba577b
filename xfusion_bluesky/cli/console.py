"""The command `console`: IPython at the beamline of a configuration."""

from __future__ import annotations

import importlib.util
import sys
from typing import Annotated

import typer

from .installation import DEFAULT_CONFIG, ConfigOption, load_configuration

_NEEDED = ("IPython", "bluesky", "matplotlib", "ophyd")


def console_command(
    config: ConfigOption = DEFAULT_CONFIG,
    command: Annotated[
        str | None, typer.Option("--command", help="Python to run instead of asking for it.")
    ] = None,
) -> None:
    """Open IPython with RunEngine, devices, plans and catalogue; or run a script piped into it."""
    configuration = load_configuration(config)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LookupError(
            f"The console needs {', '.join(missing)}, which this Python has not installed: "
            "pip install 'xfusion-bluesky[epics]'. Nothing was changed."
        )
    if command is None and not sys.stdin.isatty():
        command = sys.stdin.read()
    from IPython import start_ipython
    from traitlets.config import Config

    from ..console import banner, namespace, open_beamline

    beamline = open_beamline(configuration)
    try:
        names = namespace(beamline)
        settings = Config()
        settings.InteractiveShellApp.extra_extensions = ["xfusion_bluesky.console"]
        if command is None:
            settings.TerminalInteractiveShell.banner1 = f"{banner(beamline)}\n\n"
        start_ipython(
            argv=[] if command is None else ["-c", command or "pass"],
            user_ns=names,
            config=settings,
        )
    finally:
        beamline.close()
