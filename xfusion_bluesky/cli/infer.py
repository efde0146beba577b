"""The command that runs a backend on files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

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
    from ..configuration import Configuration
    from ..inference.frame_set import FrameSet
    from ..inference.jobs import ActualJob, VirtualJob
    from ..inference.run import Outcome

_MODES = ("continuous", "double")
_MOST_PHOTONS = 1e15


def infer_command(
    backend: Annotated[str, typer.Option(metavar="ID", help="Id of the backend.")],
    virtual: Annotated[
        Path | None, typer.Option(metavar="DIR", help="XFusion's folder of a virtual experiment.")
    ] = None,
    actual: Annotated[
        Path | None, typer.Option(metavar="DIR", help="XFusion's folder of real experiments.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Parameter; VALUE is JSON, or text."),
    ] = None,
    weights: WeightsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For the results; default: in the set, or 'inference'."),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", "--traverse", help="continuous, or double: HR left out.")
    ] = _MODES[0],
    lr_separation: Annotated[
        int, typer.Option(min=1, max=3, help="virtual: LR frames t - s, t, t + s.")
    ] = 1,
    hr_separation: Annotated[
        int, typer.Option(min=2, help="virtual: frames from HR to HR frame, D.")
    ] = 20,
    b0: Annotated[
        float | None,
        typer.Option(help="virtual: add photon noise, photons of an LR pixel that is white."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="virtual: of that noise.")] = 0,
    cases: Annotated[
        str | None, typer.Option(metavar="A,B", help="actual: only these cases.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="actual: calibration record.")
    ] = None,
    tfm_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="actual: XFusion's tfm_*.npy.")
    ] = None,
    meta_file_scale: Annotated[
        Path | None, typer.Option(metavar="FILE", help="actual: XFusion's scale_factor_*.npy.")
    ] = None,
    xfusion_matching: Annotated[
        bool, typer.Option("--xfusion-matching", help="actual: match frames by XFusion's rules.")
    ] = False,
    as_recorded: Annotated[
        bool, typer.Option("--as-recorded", help="actual: do not match the cameras' brightness.")
    ] = False,
    npz: Annotated[bool, typer.Option("--npz", help="actual: also write <case>.npz.")] = False,
    scores: Annotated[
        bool, typer.Option("--csv", help="actual, double: also write error_*.csv.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Run a backend on XFusion's folders; write images and scores as XFusion does."""
    if mode not in _MODES:
        raise ConfigurationError(
            f"--mode {mode} is none of {', '.join(_MODES)}. Nothing was changed."
        )
    if b0 is not None and not 0 < b0 <= _MOST_PHOTONS:
        raise ConfigurationError(
            f"--b0 {b0:g} is no number of photons up to {_MOST_PHOTONS:g}. Nothing was changed."
        )
    if (virtual is None) == (actual is None):
        raise ConfigurationError("Name one of --virtual DIR and --actual DIR. Nothing was changed.")
    from ..processing.discovery import discover
    from .infer_actual import ActualOptions, actual_jobs, write_xfusion_files

    configuration = load_configuration(config)
    configured = configuration.reconstruction.parameters.get(backend, {})
    parameters = {**configured, **weights_of(weights), **parameters_of(settings or ())}
    options = ActualOptions(
        cases, calibration, tfm_file, meta_file_scale, xfusion_matching, as_recorded, npz, scores
    )
    with console.status("loading the installed plugins"):
        found = discover(configuration.plugins, Event()).find(backend)
    common = {"backend": backend, "plugin": found.source, "parameters": parameters, "mode": mode}
    jobs: Sequence[VirtualJob | ActualJob] = ()
    if actual is not None:
        jobs = actual_jobs(actual, options, common, output or Path("inference"))
    elif virtual is not None:
        jobs = [_virtual_job(virtual, common, lr_separation, hr_separation, b0, seed, output)]
    # All that can be known before work begins, of all cases.
    ready = [(job, _source(job)) for job in jobs]
    for _, source in ready:
        _check(source)
    failed = False
    for job, source in ready:
        outcome = _run(configuration, job, source)
        console.print(_table(outcome, source.title if actual is not None else ""))
        console.print(f"images and scores  {job.output}", soft_wrap=True, markup=False)
        if outcome.failure:
            failed = True
            _tell_failure(outcome)
        for file in write_xfusion_files(job, source, outcome, options):
            console.print(f"as XFusion has it  {file}", soft_wrap=True, markup=False)
    if failed:
        raise typer.Exit(1)


def _virtual_job(
    folder: Path,
    common: Mapping[str, Any],
    lr_separation: int,
    hr_separation: int,
    b0: float | None,
    seed: int,
    output: Path | None,
) -> VirtualJob:
    from ..inference.jobs import VirtualJob
    from ..inference.virtual_set import VirtualSet

    job = VirtualJob.model_validate(
        {
            **common,
            "folder": folder.resolve(),
            "lr_separation": lr_separation,
            "hr_separation": hr_separation,
            "blank_photons": b0,
            "seed": seed,
            "output": Path(),
        }
    )
    name = job.name(VirtualSet.open(folder).noise_level)
    place = folder / name if output is None else output
    return job.model_copy(update={"output": place.resolve()})


def _source(job: VirtualJob | ActualJob) -> FrameSet:
    try:
        source = job.open()
        source.sequence(source.passes()[0])
    except LookupError:
        raise  # a damaged file, which says so itself
    except ValueError as error:
        why = str(error).rstrip(".")
        raise ConfigurationError(f"{job.folder}: {why}. Nothing was changed.") from error
    if job.output.exists():
        raise ConfigurationError(
            f"{job.output} exists already: name another folder with --output, or take it away. "
            "Nothing was changed."
        )
    return source


def _check(source: FrameSet) -> None:
    with _progress() as progress:
        reading = progress.add_task("reading images", total=source.image_count)
        source.check(lambda: progress.advance(reading))


def _run(configuration: Configuration, job: VirtualJob | ActualJob, source: FrameSet) -> Outcome:
    from ..inference.process import Limits
    from ..inference.run import infer

    limits = Limits(
        silence_s=configuration.reconstruction.deadline_s,
        memory_mb=configuration.reconstruction.memory_mb,
        log_mb=configuration.reconstruction.log_limit_mb,
        secret=configuration.tiled.api_key_env,
    )
    with _progress() as progress:
        targets = sum(len(each.targets) for each in source.passes())
        fusing = progress.add_task(job.backend, total=targets)
        try:
            return infer(job, source, limits, lambda: progress.advance(fusing))
        except OSError as error:
            raise ConfigurationError(
                f"The results cannot be written to {job.output}: {error}. The images in "
                f"{job.folder} were not changed."
            ) from error


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _tell_failure(outcome: Outcome) -> None:
    made, targets = len(outcome.scores), outcome.targets
    console.print(
        f"[bold red]failed[/] after {made} of {targets} frames, which are good: "
        f"{escape(outcome.failure)}",
        soft_wrap=True,
    )


def _table(outcome: Outcome, title: str) -> Table:
    table = Table(title, "frames", "PSNR dB", "AAD", "SSIM", "PSNR moving dB", "s/frame")
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
