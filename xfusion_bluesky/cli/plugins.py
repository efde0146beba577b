"""Commands on backend plugins."""

from __future__ import annotations

import typer
from rich.table import Table

from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration

plugins = typer.Typer(help="Reconstruction backends.", no_args_is_help=True)


@plugins.command("list")
def plugins_list(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List the installed backends, and the plugins that could not be loaded."""
    from ..backends.registry import Registry

    configuration = load_configuration(config)
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
