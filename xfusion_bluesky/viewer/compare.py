"""All reconstructions of a burst beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..processing.bursts import BurstFinder
from .report import save_picture
from .scores import SUCCESS, Reconstruction

MOST_IN_PICTURE = 5


def save_comparison(
    folder: Path, finder: BurstFinder, best_first: Sequence[Reconstruction]
) -> Path | None:
    """Write a picture of the best reconstructions of one burst.

    Columns are the LR frame, the nearest HR frame, up to five reconstructions with the best one
    last, and where it is known the truth and the error of the best one.

    Parameters
    ----------
    folder : Path
        Where ``<raw uid>-burst<N>.png`` is written; made when missing.
    finder : BurstFinder
        Finds the raw burst.
    best_first : sequence of Reconstruction
        From `scores.ranked`.

    Returns
    -------
    Path or None
        The picture; None when no reconstruction is successful.
    """
    shown = [each for each in best_first if each.score.status == SUCCESS and each.score.frames]
    if not shown:
        return None
    score = shown[0].score
    path = folder / f"{score.raw_uid[:8]}-burst{score.seq_num}.png"
    save_picture(path, finder, shown[:MOST_IN_PICTURE][::-1])
    return path
