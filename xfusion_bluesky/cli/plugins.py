"""Commands on backend plugins."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from ..configuration import ConfigurationError
from .installation import (
    DEFAULT_CONFIG,
    ConfigOption,
    WeightsOption,
    console,
    load_configuration,
    parameters_of,
    weights_of,
)

if TYPE_CHECKING:
    from ..processing.discovery import Discovery

_LOAD_S = 15.0

plugins = typer.Typer(help="Reconstruction backends.", no_args_is_help=True)


@plugins.command("list")
def plugins_list(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """List the installed backends, and the plugins that could not be loaded or may not be."""
    found = _discover(config)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    table = Table(
        Column("backend", no_wrap=True),
        "version",
        Column("distribution", overflow="fold"),
        *("needs HR", "what it does", "state"),
    )
    for backend in found.backends.values():
        table.add_row(
            backend.id,
            escape(backend.version),
            f"{backend.source.distribution} {backend.distribution_version}",
            "yes" if backend.needs_hr else "no",
            escape(backend.summary),
            escape(backend.unavailable or "available"),
        )
    console.print(table)
    for title, asides in (
        ("[bold red]not loaded[/]", found.quarantined),
        ("[yellow]blocked[/]", found.blocked),
    ):
        for aside in asides:
            distribution = f"{aside.source.distribution} {aside.version}".strip()
            source = escape(f"{aside.source.plugin} ({distribution})")
            console.print(
                f"{title}: {source}: {escape(aside.reason)}. To do: {escape(aside.fix)}.",
                soft_wrap=True,
            )


@plugins.command()
def check(
    name: Annotated[str, typer.Argument(help="Id of a backend.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter, KEY=VALUE; the value is JSON, or text."),
    ] = None,
    weights: WeightsOption = None,
    limit_s: Annotated[float, typer.Option(min=1, help="Longest time, s.")] = 120.0,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Examine a backend in a process of its own; exit code 1 when it does not conform."""
    from ..backends.examine import examine
    from .card import print_card

    parameters = {**weights_of(weights), **parameters_of(settings or ())}
    source = _discover(config).find(name).source
    try:
        with console.status("starting") as status:
            card = examine(
                name,
                parameters,
                # Nobody else's plugin shall have a part in it.
                allow=[source.distribution or source.plugin],
                limit_s=limit_s,
                on_progress=lambda what: status.update(escape(what)),
            )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    print_card(card)
    if not card.conforms:
        raise typer.Exit(1)


@plugins.command()
def new(
    name: Annotated[str, typer.Argument(help="Id of the new backend, for instance my-method.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where to; it must not exist. Default: xfusion-NAME here.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write a plugin of your own: a small distribution with one backend that works."""
    from ..backends.scaffold import ScaffoldError, write_plugin

    backends = _discover(config).backends.values()
    installed = {each.id: f"{each.source.distribution} {each.version}" for each in backends}
    try:
        written = write_plugin(name, folder, installed)
    except ScaffoldError as error:
        raise ConfigurationError(str(error)) from error
    console.print(f"Wrote {escape(str(written))}. Now:", soft_wrap=True)
    console.print(f"  python -m pip install -e {escape(str(written))}", soft_wrap=True)
    console.print(f"  xfusion-bluesky plugins check {name}")


def _discover(config: Path) -> Discovery:
    from ..processing.discovery import discover

    plugins = load_configuration(config).plugins
    return discover(plugins, Event(), together_s=_LOAD_S, alone_s=_LOAD_S)
