"""The command that completes what is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration


def sync_command(
    config: ConfigOption = DEFAULT_CONFIG,
    patience_s: Annotated[
        float, typer.Option(help="Give up after so many seconds without progress.", min=1.0)
    ] = 60.0,
) -> None:
    """Bring what is missing into Tiled, reconstruct what was not, and say what was done."""
    from ..backends.registry import Registry
    from ..processing.sync import synchronise

    configuration = load_configuration(config)
    registry = Registry.discover(configuration.plugins.allow, configuration.plugins.block)
    backends = configuration.reconstruction.backends or tuple(registry.available())
    lines = 0

    def say(line: str) -> None:
        nonlocal lines
        lines += 1
        console.print(line, soft_wrap=True, highlight=False)

    missing = synchronise(config, backends, say, patience_s)
    for uid in sorted(missing.open_runs):
        console.print(f"run {uid}: is still open", soft_wrap=True, highlight=False)
    if missing:
        for uid in sorted((missing.not_in_tiled - missing.open_runs) | missing.running):
            console.print(f"run {uid}: still missing", soft_wrap=True, highlight=False)
        raise typer.Exit(1)
    console.print("Everything is in Tiled." if lines else "Nothing was missing.")
