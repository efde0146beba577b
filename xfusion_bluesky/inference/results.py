"""The files of one inference beside its images: scores, settings, and what it comes to."""

from __future__ import annotations

import csv
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from xfusion_bluesky.inference.scoring import COLUMNS, FrameScore

__all__ = ["LOG", "SETTINGS", "ScoreFile", "Summary", "write_settings"]

LOG = "inference.log"
SETTINGS = "inference.json"

_AVERAGED = (
    "psnr_xfusion",
    "aad_xfusion",
    "ssim_xfusion",
    "psnr_db",
    "psnr_moving_db",
    "ssim_gauss",
)


class ScoreFile:
    """A CSV file with a line for each frame, there as soon as the frame is made.

    Leaving the context writes it anew in the order of frames: runs for LR frames further apart, and
    the mode `double`, do not make them in order.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.scores: list[FrameScore] = []

    def __enter__(self) -> ScoreFile:
        self._stream = self._path.open("w", newline="", encoding="utf-8")
        self._lines = csv.writer(self._stream, lineterminator="\n")
        self._lines.writerow(COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self.scores.sort(key=lambda score: score.index)
        draft = self._path.with_name(f".{self._path.name}.part")
        try:
            with draft.open("w", newline="", encoding="utf-8") as stream:
                lines = csv.writer(stream, lineterminator="\n")
                lines.writerow(COLUMNS)
                lines.writerows(score.cells() for score in self.scores)
            os.replace(draft, self._path)
        except OSError:
            # The lines are all there, only their order is not: no reason to fail.
            draft.unlink(missing_ok=True)

    def add(self, score: FrameScore) -> None:
        """Write the line of a frame."""
        self.scores.append(score)
        self._lines.writerow(score.cells())
        self._stream.flush()


@dataclass(frozen=True)
class Summary:
    """Means over some frames, by name of the score; NaN where no frame has it.

    Parameters
    ----------
    frames : int
        How many; masked ones have no scores.
    means : mapping
        A PSNR of equal images is infinite, and is left out.
    """

    frames: int
    means: Mapping[str, float]

    @classmethod
    def of(cls, scores: Sequence[FrameScore]) -> Summary:
        """Average."""
        means = {}
        for name in _AVERAGED:
            values = [value for each in scores if math.isfinite(value := getattr(each, name))]
            means[name] = statistics.fmean(values) if values else math.nan
        times = [each.time_s for each in scores]
        means["time_s"] = statistics.median(times) if times else math.nan
        return cls(len(scores), means)

    def as_json(self) -> dict[str, Any]:
        """Return it for a JSON file; None for what is not known."""
        means = {name: value if value == value else None for name, value in self.means.items()}
        return {"frames": self.frames, **means}


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write `SETTINGS` into a folder, in place of one that is there.

    Raises
    ------
    OSError
        The disk is full, or fails otherwise.
    """
    draft = folder / f".{SETTINGS}.part"
    draft.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, folder / SETTINGS)
