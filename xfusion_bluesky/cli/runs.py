"""Commands on runs and reconstructions in the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .catalogue import opened_catalog
from .installation import DEFAULT_CONFIG, ConfigOption, console, load_configuration
from .reprocess import reprocess
from .tables import (
    processed_table,
    raw_table,
    reasons,
    run_facts,
    score_table,
    tournament_table,
)

if TYPE_CHECKING:
    from ..catalog import Catalog
    from ..configuration import Configuration
    from ..processing.bursts import BurstFinder

__all__ = ["app", "score_table"]

app = typer.Typer()
app.command()(reprocess)

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Uid of a run, its beginning, or its scan id.")
]
BurstOption = Annotated[
    int | None, typer.Option("--burst", min=1, help="Burst of a raw run, from 1.")
]
OutputOption = Annotated[Path, typer.Option("--output", help="Folder for what is written.")]


@app.command()
def runs(
    config: ConfigOption = DEFAULT_CONFIG,
    processed: Annotated[
        bool, typer.Option("--processed", help="Processed runs instead of raw ones.")
    ] = False,
    sample: Annotated[str | None, typer.Option(help="Only of this sample.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="Only by this backend; implies --processed.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="Only success, fail, abort, or unfinished ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most runs to show.")] = 20,
) -> None:
    """List runs in Tiled, newest first."""
    from ..catalog_queries import Criteria, matching

    criteria = Criteria(sample=sample, backend=backend, status=status)
    with opened_catalog(load_configuration(config)) as catalog:
        wanted = catalog.processed if processed or backend else catalog.raw
        found = matching(wanted, criteria).values().head(limit)
        if processed or backend:
            console.print(processed_table(found))
            return
        fused = [
            len(catalog.search(raw_uid=run.metadata["start"]["uid"], status="success"))
            for run in found
        ]
        console.print(raw_table(zip(found, fused, strict=True)))


@app.command()
def show(
    run: RunArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    burst: BurstOption = None,
    output: OutputOption = Path(),
) -> None:
    """Show a run: scores, reasons of failures, PNG strip and MP4 movie of its reconstructions."""
    from ..viewer.report import save_report
    from ..viewer.scores import best_last, read_reconstruction

    configuration = load_configuration(config)
    with opened_catalog(configuration) as catalog:
        found = catalog.run(run)
        start = found.metadata["start"]
        if "raw_uid" not in start and start.get("purpose") != "dual-burst":
            _lines(run_facts(found))
            return
        one = "raw_uid" in start
        attempts = [found] if one else catalog.reconstructions_of(start["uid"], seq_num=burst)
        if not attempts:
            raise LookupError(f"Run {run}{_of(burst)} has no reconstruction yet; see 'runs'.")
        reconstructions = [read_reconstruction(each) for each in attempts]
        scores = [each.score for each in reconstructions]
        console.print(score_table(scores))
        _lines(reasons(scores))
        shown = reconstructions if one else best_last(reconstructions)
        if shown and all(each.score.frames for each in shown):
            _lines(save_report(_finder(configuration, catalog), shown, output))


@app.command()
def compare(
    run: RunArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    burst: BurstOption = None,
    output: OutputOption = Path(),
) -> None:
    """Rank all reconstructions of one burst, and draw the best ones side by side."""
    from ..viewer.compare import save_comparison
    from ..viewer.scores import ranked, read_reconstruction

    configuration = load_configuration(config)
    with opened_catalog(configuration) as catalog:
        start = catalog.run(run).metadata["start"]
        seq_num = burst or int(start.get("raw_seq_num", 1))
        attempts = catalog.reconstructions_of(start.get("raw_uid", start["uid"]), seq_num=seq_num)
        if not attempts:
            raise LookupError(f"Run {run}{_of(seq_num)} has no reconstruction yet; see 'runs'.")
        best_first = ranked(read_reconstruction(each) for each in attempts)
        console.print(tournament_table([each.score for each in best_first]))
        _lines(reasons(each.score for each in best_first))
        picture = save_comparison(output, _finder(configuration, catalog), best_first)
        _lines([] if picture is None else [picture])


def _finder(configuration: Configuration, catalog: Catalog) -> BurstFinder:
    from ..processing.bursts import BurstFinder

    return BurstFinder(configuration.folders, lambda: nullcontext(catalog))


def _of(burst: int | None) -> str:
    return "" if burst is None else f", burst {burst},"


def _lines(lines: Iterable[Any]) -> None:
    for line in lines:
        console.print(str(line), soft_wrap=True, markup=False, highlight=False)
