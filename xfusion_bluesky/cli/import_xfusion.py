"""The command that makes raw runs of experiments in XFusion's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..configuration import ConfigurationError
from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration


def import_xfusion_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of cases, or one case.")],
    case: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this case; repeatable.")
    ] = None,
    sample_name: Annotated[
        str | None, typer.Option(help="Of the sample; by default the name of the case.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(metavar="UID", help="Calibration of the two cameras.")
    ] = None,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="Also Phantom images far from the burst.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a raw run of each case of an experiment; the service reconstructs it like any other."""
    from ..datasets.xfusion_experiment import hr_range, import_case
    from ..formats.xfusion_case import list_cases, open_case

    configuration = load_configuration(config)
    paths = list_cases(folder.absolute())
    if case:
        by_name = {path.name: path for path in paths}
        unknown = sorted(set(case) - set(by_name))
        if unknown:
            raise ConfigurationError(
                f"{folder} has no case {', '.join(unknown)}; it has {', '.join(by_name)}. Nothing "
                "was changed."
            )
        paths = tuple(by_name[name] for name in dict.fromkeys(case))
    # All of them first: a mistake in the last shall not leave half an experiment imported.
    cases = [open_case(path) for path in paths]
    total = sum(each.n_lr + (each.n_hr if all_frames else len(hr_range(each))) for each in cases)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("images", total=total)
        for each in cases:
            try:
                run = import_case(
                    each,
                    configuration.folders,
                    sample_name=sample_name,
                    calibration_uid=calibration,
                    all_frames=all_frames,
                    on_frame=lambda: progress.advance(task),
                )
            except OSError as error:
                raise ConfigurationError(
                    f"The case {each.name} cannot be kept in {configuration.folders.raw}: {error}. "
                    "Make room, and run the same command again: what was imported is not repeated."
                ) from error
            done = "imported as" if run.is_new else "is already there as"
            console.print(f"{run.case}  {done} run {run.uid}", soft_wrap=True, markup=False)
    console.print(
        "the runs are in the journal; 'xfusion-bluesky sync' says what is missing in Tiled",
        soft_wrap=True,
        markup=False,
    )
