"""Commands on public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..configuration import ConfigurationError
from .installation import console

data = typer.Typer(help="Public data sets.", no_args_is_help=True)


@data.command("list")
def data_list() -> None:
    """List the data sets, with size, licence and whom to cite."""
    from ..datasets.known import DATASETS

    for each in DATASETS.values():
        lr, hr = each.lr_shape, each.hr_shape
        for line in (
            f"[bold]{each.id}[/]  {each.title}",
            f"    2 x {each.frames} images: LR {lr[1]} x {lr[0]} px of {each.lr_pixel_um:g} um, "
            f"HR {hr[1]} x {hr[0]} px of {each.hr_pixel_um:g} um",
            f"    {each.frame_rate_hz / 1e3:g} kHz; about {each.pixels_mb:.0f} MB unpacked",
            f"    licence: {each.licence}",
            f"    cite: {each.citation}",
            f"    from: {each.url}",
        ):
            console.print(line, soft_wrap=True, highlight=False)


@data.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Data set, for instance rad_00001.")],
    folder: Annotated[Path, typer.Option(help="Where to.")] = Path(),
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="Another address of its archive.")
    ] = None,
) -> None:
    """Download, verify and unpack a data set; run it again to continue or to verify."""
    from ..datasets.fetch import fetch
    from ..datasets.known import find

    dataset = find(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("asking the server", total=None)

        def show(what: str, done: int, total: int | None) -> None:
            if progress.tasks[0].description != what:
                progress.reset(task, description=what)
            progress.update(task, completed=done, total=total)

        try:
            found = fetch(dataset, folder, source, show)
        except ConnectionError:
            raise
        except OSError as error:
            raise ConfigurationError(
                f"{name} cannot be kept in {folder}: {error}. Make room or name another --folder, "
                "and run the same command again."
            ) from error
    console.print(f"{name} is in {found}, its archive is verified", soft_wrap=True, markup=False)
    console.print(
        f"next: xfusion-bluesky infer --virtual {found} --backend linear-bp",
        soft_wrap=True,
        markup=False,
    )
