"""The command `preflight`: what a burst will be worth, before there is beam."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..configuration import Configuration, ConfigurationError
from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration

if TYPE_CHECKING:
    from ..preflight.examination import Preflight
    from ..preflight.timeline import BurstSettings

_STYLES = {"ok": "green", "warn": "yellow", "stop": "bold red"}
_SHIMADZU = "Shimadzu"
_PHANTOM = "Phantom"
_BEAM = "Beam"


def _option(name: str, text: str, panel: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel)


def preflight_command(
    config: ConfigOption = DEFAULT_CONFIG,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no device; what is not given is a default.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(help="PNG file to draw.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
    bursts: Annotated[int, typer.Option(min=1, help="Bursts of the run.")] = 1,
    interval_ns: Annotated[
        float | None, _option("--shimadzu-interval-ns", "From frame to frame.", _SHIMADZU)
    ] = None,
    lr_exposure_ns: Annotated[
        float | None, _option("--shimadzu-exposure-ns", "Exposure.", _SHIMADZU)
    ] = None,
    lr_frames: Annotated[
        int | None, _option("--shimadzu-frames", "128, or 256 in HP mode.", _SHIMADZU)
    ] = None,
    lr_delay_ns: Annotated[
        float, _option("--shimadzu-delay-ns", "Trigger after T0.", _SHIMADZU)
    ] = 0.0,
    period_ns: Annotated[
        float | None, _option("--phantom-period-ns", "From frame to frame.", _PHANTOM)
    ] = None,
    hr_exposure_ns: Annotated[
        float | None, _option("--phantom-exposure-ns", "Exposure.", _PHANTOM)
    ] = None,
    rows: Annotated[int | None, _option("--phantom-rows", "Of its region.", _PHANTOM)] = None,
    columns: Annotated[int | None, _option("--phantom-columns", "Of its region.", _PHANTOM)] = None,
    hr_delay_ns: Annotated[
        float, _option("--phantom-delay-ns", "Trigger after T0.", _PHANTOM)
    ] = 0.0,
    locked: Annotated[
        bool | None,
        _option(
            "--phantom-locked/--phantom-free", "Whether frame 0 begins with its trigger.", _PHANTOM
        ),
    ] = None,
    hr_first: Annotated[int, _option("--hr-first", "First frame to fetch.", _PHANTOM)] = 0,
    hr_last: Annotated[int, _option("--hr-last", "Last frame to fetch.", _PHANTOM)] = 3,
    pulse_period_ns: Annotated[
        float | None, _option("--pulse-period-ns", "From pulse to pulse of the ring.", _BEAM)
    ] = None,
    pulse_width_ns: Annotated[
        float | None, _option("--pulse-width-ns", "Length of a pulse.", _BEAM)
    ] = None,
    pulse_offset_ns: Annotated[
        float | None, _option("--pulse-offset-ns", "Any pulse after T0, if locked to it.", _BEAM)
    ] = None,
    scintillator: Annotated[
        str | None, _option("--scintillator", "LuAG, YAG, LYSO, or its decay in ns.", _BEAM)
    ] = None,
) -> None:
    """Say what a burst will be worth: HR frames, pulses, afterglow, memory, disk; 1: stop.

    Settings come from the running beamline; options go over them. Nothing is moved or armed.
    """
    configuration = load_configuration(config)

    from ..preflight.examination import examine, free_bytes, pulses_of
    from ..preflight.pulses import decay_of
    from ..preflight.timeline import BurstSettings

    settings = BurstSettings() if offline else _settings_of_beamline(configuration)
    known = configuration.beam
    lr = {"interval_ns": interval_ns, "exposure_ns": lr_exposure_ns, "frames": lr_frames}
    hr = {
        "period_ns": period_ns,
        "exposure_ns": hr_exposure_ns,
        "rows": rows,
        "columns": columns,
        "free_running": None if locked is None else not locked,
    }
    settings = BurstSettings(
        replace(settings.shimadzu, delay_ns=lr_delay_ns, **_given(lr)),
        replace(settings.phantom, delay_ns=hr_delay_ns, first=hr_first, last=hr_last, **_given(hr)),
    )
    try:
        report = examine(
            settings,
            pulses=pulses_of(
                known.pulse_period_ns if pulse_period_ns is None else pulse_period_ns,
                known.pulse_width_ns if pulse_width_ns is None else pulse_width_ns,
                pulse_offset_ns,
            ),
            decay_ns=decay_of(scintillator or known.scintillator),
            bursts=bursts,
            free_bytes=free_bytes(configuration.folders.raw),
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    _show(report, as_json)
    if picture is not None:
        from ..viewer.timeline import save_timeline

        save_timeline(report, picture)
        if not as_json:
            console.print(f"picture  {picture}", soft_wrap=True, markup=False, highlight=False)
    if report.verdict == "stop":
        raise typer.Exit(1)


def _settings_of_beamline(configuration: Configuration) -> BurstSettings:
    if any(importlib.util.find_spec(name) is None for name in ("bluesky", "ophyd")):
        raise LookupError(
            "To ask the beamline, this Python needs bluesky and ophyd: pip install "
            "'xfusion-bluesky[epics]'. With --offline it asks nobody. Nothing was changed."
        )
    from ..console import open_beamline
    from ..devices.faults import DeviceFault
    from ..plans.preflight import settings_of

    beamline = open_beamline(configuration)
    try:
        settings: BurstSettings = beamline.RE(settings_of(beamline.dual)).plan_result
    except DeviceFault as fault:
        raise ConnectionError(str(fault)) from fault
    finally:
        beamline.close()
    return settings


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _show(report: Preflight, as_json: bool) -> None:
    if as_json:
        checks = [asdict(check) for check in report.checks]
        settings = asdict(report.settings)
        answer = {"verdict": report.verdict, "checks": checks, "settings": settings}
        print(json.dumps(answer, indent=2))
        return
    table = Table("", "what", "found", "why", "nearest setting that works", show_lines=True)
    for check in report.checks:
        style = _STYLES[check.severity]
        cells = (check.subject, check.found, check.why, check.nearest)
        table.add_row(f"[{style}]{check.severity}", *(escape(cell) for cell in cells))
    console.print(table)
    console.print(f"[{_STYLES[report.verdict]}]{report.verdict}")
