"""The command `doctor`: look at everything an installation needs, and say what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration

if TYPE_CHECKING:
    from ..doctor import Finding

_STYLES = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


def doctor_command(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Look at software, instrument, folders, Tiled, processing and plugins; exit code 1: a FAIL."""
    configuration = load_configuration(config)

    from ..doctor import examine, failed

    areas = examine(configuration)
    if as_json:
        findings = [{"area": area, **asdict(each)} for area, found in areas for each in found]
        print(json.dumps({"ok": not failed(areas), "findings": findings}, indent=2))
    else:
        for area, found in areas:
            console.print(Text(area, style="bold"))
            for finding in found:
                _show(finding)
    if failed(areas):
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    line = Text("  ")
    line.append(f"{finding.state:<5}", style=_STYLES[finding.state])
    line.append(f"{finding.subject}: {finding.found}")
    # A line a finding, however wide the terminal: people search them with grep.
    console.print(line, soft_wrap=True)
    if finding.action:
        console.print(Text(f"        do: {finding.action}", style="italic"), soft_wrap=True)
