"""A burst and its reconstructions as a table, a picture and a movie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Catalog
from ..documents.journal import journal_path, read_journal
from ..documents.raw import Burst, bursts_of
from ..documents.sequence import burst_sequence, truth_of
from ..fusion.sequence import DualSequence
from .movie import save_movie
from .pictures import Fused, StripRow, save_strip

_PICTURE_ROWS = 3


@dataclass(frozen=True)
class Score:
    """One reconstruction in numbers.

    Parameters
    ----------
    uid, raw_uid : str
        Processed run and its raw run.
    seq_num : int
        Burst in the raw run.
    backend : str
        Backend id.
    status : str
        Exit status of the processed run, "unfinished" before its end.
    frames : int
        Number of fused frames.
    psnr_db, ssim : float
        Means over the frames between two HR frames, NaN where there is no truth.
    frame_ms : float
        Mean time that the backend took for a frame, in ms.
    """

    uid: str
    raw_uid: str
    seq_num: int
    backend: str
    status: str
    frames: int
    psnr_db: float
    ssim: float
    frame_ms: float


@dataclass(frozen=True)
class Reconstruction:
    """A processed run as read from Tiled; frames are fetched one by one."""

    score: Score
    psnr_db: np.ndarray[Any, np.dtype[np.float64]]
    frames: Any


def read_reconstruction(run: Any) -> Reconstruction:
    """Read the table of a processed run and open its frames.

    Parameters
    ----------
    run : BlueskyRun
        From `Catalog.run` or `Catalog.reconstructions_of`.
    """
    start, stop = run.metadata["start"], run.metadata.get("stop") or {}
    stream = run.get("fused")
    columns = {key: _column(stream, key) for key in ("psnr_db", "ssim", "elapsed_ms", "tau")}
    # A frame that coincides with an HR frame is a copy; its score says nothing of the fusion.
    between = (columns["tau"] > 0) & (columns["tau"] < 1)
    score = Score(
        uid=start["uid"],
        raw_uid=start["raw_uid"],
        seq_num=int(start["raw_seq_num"]),
        backend=start["backend"]["id"],
        status=stop.get("exit_status", "unfinished"),
        frames=len(columns["elapsed_ms"]),
        psnr_db=_mean(columns["psnr_db"][between[: len(columns["psnr_db"])]]),
        ssim=_mean(columns["ssim"][between[: len(columns["ssim"])]]),
        frame_ms=_mean(columns["elapsed_ms"]),
    )
    return Reconstruction(score, columns["psnr_db"], None if stream is None else stream["fused"])


def load_burst(journal: Path, run: Any) -> tuple[Burst, Burst | None, Burst | None]:
    """Find the raw burst of a processed run and its dark and flat in the journal.

    Raises
    ------
    FileNotFoundError
        When the journal of the raw run is not in this installation.
    """
    start = run.metadata["start"]
    bursts = bursts_of(read_journal(journal_path(journal, start["raw_uid"])))
    burst = next(burst for burst in bursts if burst.seq_num == int(start["raw_seq_num"]))

    def reference(key: str) -> Burst | None:
        uid = burst.start.get(key)
        return bursts_of(read_journal(journal_path(journal, uid)))[0] if uid else None

    return burst, reference("dark_uid"), reference("flat_uid")


def save_report(journal: Path, runs: Sequence[Any], folder: Path) -> tuple[Path, Path]:
    """Write the picture and the movie of the reconstructions of one burst.

    Parameters
    ----------
    journal : Path
        Journal folder.
    runs : sequence of BlueskyRun
        Processed runs of the same burst; the movie shows the last of them.
    folder : Path
        Where ``<uid>.png`` and ``<uid>.mp4`` are written; the uid is that of the last run.

    Returns
    -------
    tuple of Path
        Picture and movie.
    """
    reconstructions = [read_reconstruction(run) for run in runs]
    best = reconstructions[-1]
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / best.score.uid[:8]
    picture, movie = stem.with_suffix(".png"), stem.with_suffix(".mp4")
    burst, dark, flat = load_burst(journal, runs[-1])
    with burst_sequence(burst, dark, flat) as sequence:
        truth = truth_of(burst) if dark is not None and flat is not None else None
        middle = _between_hr_frames(sequence, min(len(r.psnr_db) for r in reconstructions))
        title = f"{best.score.raw_uid[:8]}, burst {best.score.seq_num}"
        rows = [_row(sequence, truth, reconstructions, index) for index in middle]
        save_strip(picture, rows, title=title)
        frames: Iterator[StripRow] = (
            _row(sequence, None, [best], index) for index in range(len(best.psnr_db))
        )
        save_movie(movie, frames)
    return picture, movie


def runs_of_burst(catalog: Catalog, identifier: str) -> list[Any]:
    """Return the successful reconstructions to show for a run, best last.

    Parameters
    ----------
    catalog : Catalog
        Where to look.
    identifier : str
        Uid (or its beginning, or scan id) of a processed or a raw run; of a raw run the first
        burst is taken.
    """
    run = catalog.run(identifier)
    if "raw_uid" in run.metadata["start"]:
        return [run]
    found = [
        candidate
        for candidate in catalog.reconstructions_of(run.metadata["start"]["uid"])
        if int(candidate.metadata["start"]["raw_seq_num"]) == 1
        and (candidate.metadata.get("stop") or {}).get("exit_status") == "success"
    ]
    return sorted(found, key=lambda each: np.nan_to_num(read_reconstruction(each).score.psnr_db))


def _row(
    sequence: DualSequence, truth: Any, reconstructions: Sequence[Reconstruction], index: int
) -> StripRow:
    neighbours = sequence.neighbours(index)
    known = [j for j in (neighbours.before, neighbours.after) if j is not None]
    time_ns = float(sequence.lr_time_ns[index])
    nearest = min(known, key=lambda j: abs(sequence.hr_time_ns[j] - time_ns), default=None)
    fused = tuple(
        Fused(each.score.backend, np.asarray(each.frames[index]), _finite(each.psnr_db[index]))
        for each in reconstructions
    )
    return StripRow(
        time_ns,
        sequence.lr(index),
        None if nearest is None else sequence.hr(nearest),
        0.0 if nearest is None else float(sequence.hr_time_ns[nearest] - time_ns) / 1e3,
        fused,
        None if truth is None else truth.frame(index),
    )


def _between_hr_frames(sequence: DualSequence, frames: int) -> list[int]:
    """Choose moments spread over the burst, each as far from an HR frame as there is nearby."""
    taus = np.array([abs(sequence.tau(index) - 0.5) for index in range(frames)])
    parts = [part for part in np.array_split(np.arange(frames), _PICTURE_ROWS) if part.size]
    return [int(part[np.argmin(taus[part])]) for part in parts]


def _column(stream: Any, key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if stream is None or key not in stream:
        return np.array([], dtype=np.float64)
    return np.asarray(stream[key].read(), dtype=np.float64)


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
