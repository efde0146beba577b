"""Runs and scores as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from ..viewer.scores import Score

UNFINISHED = "unfinished"
_SCORES = ("PSNR dB", "SSIM", "held-out dB", "chi2", "ms/frame")


def raw_table(runs: Iterable[tuple[Any, int]]) -> Table:
    """Return a table with a line for each raw run.

    Parameters
    ----------
    runs : iterable of (BlueskyRun, int)
        Runs, and how many reconstructions each has.
    """
    columns = ("scan", "uid", "started", "plan", "purpose", "sample", "bursts", "status", "fused")
    table = Table(*columns)
    for run, fused in runs:
        start, stop = _documents(run)
        _add(
            table,
            start.get("scan_id", ""),
            start["uid"][:8],
            _time(start),
            start.get("plan_name", ""),
            start.get("purpose", ""),
            start.get("sample_name", ""),
            stop.get("num_events", {}).get("primary", ""),
            stop.get("exit_status", UNFINISHED),
            fused,
        )
    return table


def processed_table(runs: Iterable[Any]) -> Table:
    """Return a table with a line for each processed run."""
    columns = ("uid", "started", "raw", "burst", "backend", "sample", "status", "frames")
    table = Table(*columns, "PSNR dB", "chi2", "ms/frame")
    for run in runs:
        start, stop = _documents(run)
        quality = stop.get("quality", {})
        stage = f"({start.get('analysis_stage', 'unknown')})"
        _add(
            table,
            start["uid"][:8],
            _time(start),
            str(start.get("raw_uid", ""))[:8],
            start.get("raw_seq_num", ""),
            start["backend"]["id"] if "backend" in start else stage,
            start.get("sample_name", ""),
            stop.get("exit_status", UNFINISHED),
            stop.get("frames", {}).get("made", ""),
            _number(quality.get("psnr_db", math.nan), 2),
            _number(quality.get("chi2", math.nan), 3),
            _number(quality.get("frame_ms", math.nan), 2),
        )
    return table


def score_table(scores: Sequence[Score]) -> Table:
    """Return a table with a line for each reconstruction."""
    settings = any(score.settings for score in scores)
    columns = ("run", "burst", _whole("backend"), "status", "frames", *_SCORES)
    table = Table(*columns, *(["parameters"] if settings else []))
    for score in scores:
        _add(
            table,
            score.uid[:8],
            score.seq_num,
            score.method,
            score.status,
            score.frames,
            *_scores(score),
            *([score.settings] if settings else []),
        )
    return table


def tournament_table(best_first: Sequence[Score]) -> Table:
    """Return a table with the reconstructions of one burst, best first."""
    table = Table("rank", "run", _whole("backend"), "parameters", *_SCORES, "status")
    for rank, score in enumerate(best_first, 1):
        placed = rank if score.status == "success" else "-"
        _add(
            table,
            placed,
            score.uid[:8],
            score.method,
            score.settings,
            *_scores(score),
            score.status,
        )
    return table


def reasons(scores: Iterable[Score]) -> list[str]:
    """Return a line for each reconstruction that says why it is no success."""
    return [
        f"{score.uid[:8]} {score.backend}, burst {score.seq_num}: {score.status}: {score.reason}"
        for score in scores
        if score.reason
    ]


def run_facts(run: Any) -> list[str]:
    """Return lines that say what a run is: who, when, how it ended, frames and files."""
    start, stop = _documents(run)
    keys = ("scan_id", "plan_name", "purpose", "analysis_stage", "sample_name")
    facts = [f"{key:<14} {start[key]}" for key in keys if start.get(key) is not None]
    facts.append(f"{'started':<14} {_time(start)}")
    facts.append(f"{'status':<14} {stop.get('exit_status', UNFINISHED)}")
    if stop.get("reason"):
        facts.append(f"{'reason':<14} {stop['reason']}")
    if "primary" in run:
        stream = run["primary"]
        for name in (key for key in stream if str(key).endswith("_image")):
            image = stream[name]
            bursts, frames, height, width = image.shape
            facts.append(f"{name:<14} {bursts} burst(s) of {frames} frames, {width} x {height} px")
            for source in image.data_sources() or ():
                facts += [f"{'':<14} {asset.data_uri}" for asset in source.assets]
    return [f"{'uid':<14} {start['uid']}", *facts]


def _scores(score: Score) -> tuple[str, ...]:
    return (
        _number(score.psnr_db, 2),
        _number(score.ssim, 4),
        _number(score.held_out_psnr_db, 2),
        _number(score.chi2, 3),
        _number(score.frame_ms, 2),
    )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _documents(run: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return run.metadata["start"], run.metadata.get("stop") or {}


def _time(start: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(start["time"]).isoformat(" ", "seconds")


def _whole(name: str) -> Column:
    return Column(name, no_wrap=True, min_width=len("bayesian-strong"))


def _add(table: Table, *cells: object) -> None:
    # What people typed into metadata is no markup.
    table.add_row(*(escape(str(cell)) for cell in cells))
