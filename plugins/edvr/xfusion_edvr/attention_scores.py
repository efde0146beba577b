"""Attention scores of the HR frames over a sequence, raw and normalised, as published."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.backends.contract import FusedFrame
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["AttentionScores"]

Numbers = npt.NDArray[np.float64]

_COLUMNS = ("t-1 hi", "t+1 hi")


@dataclass(frozen=True, eq=False)
class AttentionScores:
    """Scores of the HR frame before ("backward") and after ("forward") each target.

    Parameters
    ----------
    place : (n,) int
        LR frames from the one taken with the preceding HR frame to the target, 0 at that one.
    before, after : (n,) float64
        Scores; those of `EDVR` are raw correlations.
    """

    place: npt.NDArray[np.int64]
    before: Numbers
    after: Numbers

    @classmethod
    def from_frames(cls, sequence: DualSequence, frames: Iterable[FusedFrame]) -> AttentionScores:
        """Take the scores from what backend `edvr-stf` gave.

        Masked frames, and those without an HR frame on each side, are left out.

        Parameters
        ----------
        sequence : DualSequence
            What was fused.
        frames : iterable of FusedFrame
            In any order.
        """
        rows = []
        for frame in frames:
            near = sequence.neighbours(frame.target)
            if near.before is None or near.after is None or "masked" in frame.diagnostics:
                continue
            begin_ns = sequence.hr_time_ns[near.before]
            first = int(np.abs(sequence.lr_time_ns - begin_ns).argmin())
            scores = (frame.diagnostics[f"score_hr_{side}"] for side in ("before", "after"))
            rows.append((frame.target - first, *scores))
        return cls._of(rows)

    @classmethod
    def from_csv(cls, path: Path) -> AttentionScores:
        """Take the scores from a table ``error_*.csv`` that XFusion has written.

        A row with the mask 1 is one whose target was taken with the preceding HR frame; rows before
        the first of them are left out, and so is the last row where its mask is 1: no HR frame
        follows it. Rows without scores, as those of masked frames, are left out, too.

        Parameters
        ----------
        path : Path
            The table.

        Raises
        ------
        ValueError
            If a column is missing or a cell holds no number.
        """
        rows: list[tuple[float, ...]] = []
        place, ends_with_hr = -1, False
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                try:
                    place = 0 if float(row["mask"]) == 1 else place + 1 if place >= 0 else -1
                    cells = [row[column] for column in _COLUMNS]
                    ends_with_hr = place == 0 and any(cells)
                    if place >= 0 and any(cells):
                        rows.append((place, *map(float, cells)))
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"{path}, line {line}: columns mask, {', '.join(_COLUMNS)} with a number "
                        f"each are needed, got {row}"
                    ) from error
        return cls._of(rows[:-1] if ends_with_hr else rows)

    @classmethod
    def _of(cls, rows: Sequence[tuple[float, ...]]) -> AttentionScores:
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return cls(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])

    def normalised(self) -> AttentionScores:
        """Divide by the scores at place 0 of the same stretch between two HR frames.

        Stretches without a target at place 0, or with a score of 0 there, are left out. Scores
        have to be in the order of time.
        """
        rows: list[tuple[float, ...]] = []
        first: tuple[float, float] | None = None
        last = -1
        for place, before, after in zip(self.place, self.before, self.after, strict=True):
            if place <= last or place == 0:
                first = (before, after) if place == 0 and before and after else None
            last = place
            if first is not None:
                rows.append((place, before / first[0], after / first[1]))
        return self._of(rows)
