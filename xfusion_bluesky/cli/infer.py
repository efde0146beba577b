"""The command that runs a backend on files."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..configuration import ConfigurationError
from .installation import (
    DEFAULT_CONFIG,
    ConfigOption,
    console,
    load_configuration,
    parameters_of,
)

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..inference.jobs import InferenceJob
    from ..inference.run import Outcome
    from ..inference.virtual_set import VirtualSet

_MODES = ("continuous", "double")
_MOST_PHOTONS = 1e15


def infer_command(
    virtual: Annotated[
        Path, typer.Option(metavar="DIR", help="XFusion's folder of a virtual experiment.")
    ],
    backend: Annotated[str, typer.Option(metavar="ID", help="Id of the backend.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Parameter; VALUE is JSON, or text."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For the results; default: inside the set.")
    ] = None,
    lr_separation: Annotated[
        int, typer.Option(min=1, max=3, help="LR frames t - s, t, t + s belong together.")
    ] = 1,
    hr_separation: Annotated[int, typer.Option(min=2, help="Frames from HR to HR frame, D.")] = 20,
    b0: Annotated[
        float | None,
        typer.Option(help="Add photon noise: photons of an LR pixel that is white."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that noise.")] = 0,
    mode: Annotated[str, typer.Option(help="continuous, or double: HR frames left out.")] = _MODES[
        0
    ],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Run a backend on XFusion's LR and HR folders; write images and scores as XFusion does."""
    if mode not in _MODES:
        raise ConfigurationError(
            f"--mode {mode} is none of {', '.join(_MODES)}. Nothing was changed."
        )
    if b0 is not None and not 0 < b0 <= _MOST_PHOTONS:
        raise ConfigurationError(
            f"--b0 {b0:g} is no number of photons up to {_MOST_PHOTONS:g}. Nothing was changed."
        )
    from ..inference.jobs import InferenceJob
    from ..inference.virtual_set import VirtualSet
    from ..processing.discovery import discover

    configuration = load_configuration(config)
    configured = configuration.reconstruction.parameters.get(backend, {})
    parameters = {**configured, **parameters_of(settings or ())}
    source = VirtualSet.open(virtual)
    with console.status("loading the installed plugins"):
        found = discover(configuration.plugins, Event()).find(backend)
    job = InferenceJob.model_validate(
        {
            "folder": virtual.resolve(),
            "backend": backend,
            "plugin": found.source,
            "parameters": parameters,
            "mode": mode,
            "lr_separation": lr_separation,
            "hr_separation": hr_separation,
            "blank_photons": b0,
            "seed": seed,
            "output": Path(),
        }
    )
    folder = virtual / job.name(source.noise_level) if output is None else output
    if folder.exists():
        raise ConfigurationError(
            f"{folder} exists already: name another folder with --output, or take it away. "
            "Nothing was changed."
        )
    outcome = _run(configuration, job.model_copy(update={"output": folder.resolve()}), source)
    console.print(_table(outcome))
    console.print(f"images and scores  {folder}", soft_wrap=True, markup=False)
    if outcome.failure:
        made, targets = len(outcome.scores), outcome.targets
        console.print(
            f"[bold red]failed[/] after {made} of {targets} frames, which are good: "
            f"{escape(outcome.failure)}",
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _run(configuration: Configuration, job: InferenceJob, source: VirtualSet) -> Outcome:
    from ..inference.frames import frame_passes
    from ..inference.process import Limits
    from ..inference.run import infer

    limits = Limits(
        silence_s=configuration.reconstruction.deadline_s,
        memory_mb=configuration.reconstruction.memory_mb,
        log_mb=configuration.reconstruction.log_limit_mb,
        secret=configuration.tiled.api_key_env,
    )
    try:
        passes = frame_passes(len(source), job.mode, job.lr_separation, job.hr_separation)
    except ValueError as error:
        raise ConfigurationError(f"{source.folder}: {error}. Nothing was changed.") from error
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        reading = progress.add_task("reading images", total=2 * len(source))
        source.check(lambda: progress.advance(reading))
        progress.remove_task(reading)
        fusing = progress.add_task(job.backend, total=sum(len(each.targets) for each in passes))
        try:
            return infer(job, source, limits, lambda: progress.advance(fusing))
        except OSError as error:
            raise ConfigurationError(
                f"The results cannot be written to {job.output}: {error}. The set was not changed."
            ) from error


def _table(outcome: Outcome) -> Table:
    table = Table("", "frames", "PSNR dB", "AAD", "SSIM", "PSNR moving dB", "s/frame")
    for name, summary in outcome.summaries.items():
        means = summary.means
        cells = (
            f"{means['psnr_xfusion']:.2f}",
            f"{means['aad_xfusion']:.3f}",
            f"{means['ssim_xfusion']:.4f}",
            f"{means['psnr_moving_db']:.2f}",
            f"{means['time_s']:.3f}",
        )
        known = ("-" if cell == "nan" else cell for cell in cells)
        table.add_row(name, str(summary.frames), *known)
    return table
