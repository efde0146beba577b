"""Commands on runs and reconstructions in the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration, open_catalog

if TYPE_CHECKING:
    from ..viewer.report import Score

app = typer.Typer()


@app.command()
def runs(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List the raw runs in Tiled, newest first, and how many reconstructions each has."""
    catalog = open_catalog(load_configuration(config))
    table = Table("scan", "uid", "plan", "purpose", "sample", "bursts", "status", "fused")
    for uid in reversed(list(catalog.raw)):
        run = catalog.raw[uid]
        start, stop = run.metadata["start"], run.metadata.get("stop") or {}
        table.add_row(
            str(start.get("scan_id", "")),
            uid[:8],
            str(start.get("plan_name", "")),
            str(start.get("purpose", "")),
            str(start.get("sample_name", "")),
            str(stop.get("num_events", {}).get("primary", "")),
            stop.get("exit_status", "open"),
            str(len(catalog.reconstructions_of(uid))),
        )
    console.print(table)
    catalog.close()


@app.command()
def show(
    uid: Annotated[str, typer.Argument(help="Raw or processed run: uid, its beginning, scan id.")],
    config: ConfigOption = DEFAULT_CONFIG,
    output: Annotated[Path, typer.Option(help="Folder for picture and movie.")] = Path(),
) -> None:
    """Show a run's reconstructions: table, PNG strip and MP4 movie."""
    from ..viewer.report import read_reconstruction, runs_of_burst, save_report

    configuration = load_configuration(config)
    catalog = open_catalog(configuration)
    found = runs_of_burst(catalog, uid)
    if not found:
        raise LookupError(f"Run {uid} has no finished reconstruction yet; see 'runs'.")
    console.print(score_table([read_reconstruction(run).score for run in found]))
    for path in save_report(configuration.folders.journal, found, output):
        console.print(str(path), soft_wrap=True)
    catalog.close()


def score_table(scores: list[Score]) -> Table:
    """Return a table with a line for each reconstruction."""
    table = Table("run", "burst", "backend", "status", "frames", "PSNR dB", "SSIM", "ms/frame")
    for score in scores:
        table.add_row(
            score.uid[:8],
            str(score.seq_num),
            score.backend,
            score.status,
            str(score.frames),
            f"{score.psnr_db:.2f}",
            f"{score.ssim:.4f}",
            f"{score.frame_ms:.2f}",
        )
    return table
