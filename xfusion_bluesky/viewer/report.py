"""A burst and its reconstructions as a picture and a movie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..documents.sequence import TruthSource, burst_sequence, truth_of
from ..fusion.sequence import DualSequence
from ..processing.bursts import BurstFinder
from .movie import save_movie
from .pictures import Fused, StripRow, save_strip
from .scores import Reconstruction, Score

__all__ = ["save_picture", "save_report"]

_PICTURE_ROWS = 3


def save_report(
    finder: BurstFinder, reconstructions: Sequence[Reconstruction], folder: Path
) -> tuple[Path, Path]:
    """Write the picture and the movie of the reconstructions of one burst.

    Parameters
    ----------
    finder : BurstFinder
        Finds the raw burst.
    reconstructions : sequence of Reconstruction
        Of the same burst, with frames; the movie shows the last of them.
    folder : Path
        Where ``<uid>.png`` and ``<uid>.mp4`` are written; the uid is that of the last run.

    Returns
    -------
    tuple of Path
        Picture and movie.

    Raises
    ------
    BurstNotFound, CatalogError
        The raw burst can be had neither here nor from Tiled.
    """
    best = reconstructions[-1]
    stem = folder / best.score.uid[:8]
    picture, movie = stem.with_suffix(".png"), stem.with_suffix(".mp4")
    with _opened(finder, best.score) as (sequence, truth):
        folder.mkdir(parents=True, exist_ok=True)
        _draw(picture, sequence, truth, reconstructions)
        frames = (_row(sequence, None, [best], index) for index in best.places)
        save_movie(movie, frames)
    return picture, movie


def save_picture(
    path: Path, finder: BurstFinder, reconstructions: Sequence[Reconstruction]
) -> None:
    """Write a picture: moments of a burst below each other, reconstructions side by side.

    Parameters
    ----------
    path : Path
        PNG file; its folder is made when missing.
    finder : BurstFinder
        Finds the raw burst.
    reconstructions : sequence of Reconstruction
        Of the same burst, with frames; the error is shown for the last.

    Raises
    ------
    BurstNotFound, CatalogError
        The raw burst can be had neither here nor from Tiled.
    """
    with _opened(finder, reconstructions[-1].score) as (sequence, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
        _draw(path, sequence, truth, reconstructions)


@contextmanager
def _opened(finder: BurstFinder, score: Score) -> Iterator[tuple[DualSequence, TruthSource | None]]:
    (burst,) = finder.find(score.raw_uid, [score.seq_num])
    corrections = finder.corrections(replace(burst, start={**burst.start, **score.corrected_with}))
    with burst_sequence(burst, corrections) as sequence:
        known = corrections.gives_transmission
        yield sequence, truth_of(burst, sequence.pixel_map) if known else None


def _draw(
    path: Path,
    sequence: DualSequence,
    truth: TruthSource | None,
    reconstructions: Sequence[Reconstruction],
) -> None:
    in_all = set.intersection(*(set(each.places) for each in reconstructions))
    moments = _between_hr_frames(sequence, sorted(in_all))
    rows = [_row(sequence, truth, reconstructions, index) for index in moments]
    score = reconstructions[-1].score
    save_strip(path, rows, title=f"{score.raw_uid[:8]}, burst {score.seq_num}")


def _row(
    sequence: DualSequence, truth: Any, reconstructions: Sequence[Reconstruction], index: int
) -> StripRow:
    neighbours = sequence.neighbours(index)
    known = [j for j in (neighbours.before, neighbours.after) if j is not None]
    time_ns = float(sequence.lr_time_ns[index])
    nearest = min(known, key=lambda j: abs(sequence.hr_time_ns[j] - time_ns), default=None)
    fused = tuple(
        Fused(each.score.label, np.asarray(each.frames[place]), _finite(each.psnr_db[place]))
        for each in reconstructions
        for place in (each.places[index],)
    )
    return StripRow(
        time_ns,
        sequence.lr(index),
        None if nearest is None else sequence.hr(nearest),
        0.0 if nearest is None else float(sequence.hr_time_ns[nearest] - time_ns) / 1e3,
        fused,
        None if truth is None else truth.frame(index),
    )


def _between_hr_frames(sequence: DualSequence, lr_frames: Sequence[int]) -> list[int]:
    """Choose moments spread over the burst, each as far from an HR frame as there is nearby."""
    # Without any HR frame one moment is as good as another.
    known = bool(sequence.hr_valid.any())
    away = [abs(sequence.tau(k) - 0.5) if known else 0.0 for k in lr_frames]
    parts = np.array_split(np.arange(len(lr_frames)), _PICTURE_ROWS)
    return [lr_frames[min(part, key=lambda k: away[k])] for part in parts if part.size]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
