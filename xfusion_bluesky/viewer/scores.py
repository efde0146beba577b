"""Reconstructions in numbers, read from Tiled, and which of them is the best."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

UNFINISHED = "unfinished"
SUCCESS = "success"
CONTINUOUS = "continuous"

_CORRECTIONS = ("calibration_uid", "dark_uid", "flat_uid")
_Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Score:
    """One reconstruction in numbers.

    Parameters
    ----------
    uid, raw_uid : str
        Processed run and its raw run.
    seq_num : int
        Burst in the raw run.
    key : str
        What all attempts at this reconstruction share.
    attempt : int
        From 1.
    backend : str
        Backend id.
    parameters : mapping
        Of the backend.
    status : str
        Exit status of the processed run, "unfinished" before its end.
    reason : str
        Why it is no success.
    frames : int
        Number of fused frames.
    psnr_db, ssim : float
        Means over the frames between two HR frames, NaN where there is no truth.
    held_out_psnr_db : float
        Mean over HR frames that the backend had to guess, NaN where there were too few.
    chi2 : float
        Median of the consistency with the LR frames, NaN where the noise is not known.
    frame_ms : float
        Median time that the backend took for a frame, in ms.
    traversal : str
        "continuous", or "double": HR frames were held out, and are what scores compare with.
    corrected_with : mapping
        Uids of calibration, dark and flat, by the key under which a raw run names them; empty for
        runs that do not say.
    """

    uid: str
    raw_uid: str
    seq_num: int
    key: str
    attempt: int
    backend: str
    parameters: Mapping[str, Any]
    status: str
    reason: str
    frames: int
    psnr_db: float
    ssim: float
    held_out_psnr_db: float
    chi2: float
    frame_ms: float
    traversal: str = CONTINUOUS
    corrected_with: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def settings(self) -> str:
        """The parameters in one line, empty when there are none."""
        return " ".join(f"{name}={json.dumps(value)}" for name, value in self.parameters.items())

    @property
    def method(self) -> str:
        """Backend, and traversal where it is not the usual one."""
        return self.backend if self.traversal == CONTINUOUS else f"{self.backend} {self.traversal}"

    @property
    def label(self) -> str:
        """Method and parameters in one line."""
        return f"{self.method} {self.settings}".strip()


@dataclass(frozen=True)
class Reconstruction:
    """A processed run as read from Tiled; frames are fetched one by one.

    Parameters
    ----------
    score : Score
        The run in numbers.
    psnr_db : (frames,) float64
        Of each frame, NaN where there is no truth.
    frames : array client or None
        (frames, H, W) float32; None when there is no frame.
    lr_frames : tuple of int, optional
        LR frame of each; None where frame k belongs to LR frame k.
    """

    score: Score
    psnr_db: _Numbers
    frames: Any
    lr_frames: tuple[int, ...] | None = None

    @property
    def places(self) -> dict[int, int]:
        """Place of each fused frame by its LR frame."""
        lr_frames = range(self.score.frames) if self.lr_frames is None else self.lr_frames
        return {lr_frame: place for place, lr_frame in enumerate(lr_frames)}


def read_reconstruction(run: Any) -> Reconstruction:
    """Read the table of a processed run and open its frames.

    Parameters
    ----------
    run : BlueskyRun
        From `Catalog.run` or `Catalog.reconstructions_of`.
    """
    start, stop = run.metadata["start"], run.metadata.get("stop") or {}
    stream = run.get("fused")
    # Not by column of the stream: each would cost several requests.
    parts = {} if stream is None else stream.base
    images, table = parts.get("fused"), parts.get("internal")
    values = {} if table is None else table.read()
    # While a run goes on, its files are registered before its table grows.
    frames = 0 if images is None else min(images.shape[0], len(values))
    keys = ("psnr_db", "ssim", "chi2", "elapsed_ms", "tau")
    columns = {key: _of_length(values.get(key, ()), frames) for key in keys}
    # A frame that coincides with an HR frame is a copy; its score says nothing of the fusion.
    between = (columns["tau"] > 0) & (columns["tau"] < 1)
    score = Score(
        uid=start["uid"],
        raw_uid=start["raw_uid"],
        seq_num=int(start["raw_seq_num"]),
        key=str(start.get("reconstruction_key", start["uid"])),
        attempt=int(start.get("attempt", 1)),
        backend=start["backend"]["id"],
        parameters=dict(start.get("parameters") or {}),
        status=stop.get("exit_status", UNFINISHED),
        reason=str(stop.get("reason") or ""),
        frames=frames,
        psnr_db=_mean(columns["psnr_db"][between]),
        ssim=_mean(columns["ssim"][between]),
        held_out_psnr_db=float(stop.get("quality", {}).get("held_out_psnr_db", math.nan)),
        chi2=_median(columns["chi2"]),
        frame_ms=_median(columns["elapsed_ms"]),
        traversal=str(start.get("traversal", CONTINUOUS)),
        corrected_with={key: start[key] for key in _CORRECTIONS if key in start},
    )
    lr_frames = None
    if "lr_index" in values:
        lr_frames = tuple(int(number) for number in np.asarray(values["lr_index"])[:frames])
    return Reconstruction(score, columns["psnr_db"], images if frames else None, lr_frames)


def ranked(reconstructions: Iterable[Reconstruction]) -> list[Reconstruction]:
    """Return the one attempt that counts of each reconstruction, best first.

    It is the last successful attempt, or else the last one. Those that made every frame come before
    those that guessed HR frames, whose PSNR compares with something else. Then those with a PSNR
    come first, highest first; then, where there is no truth, by how well they guess HR frames that
    they are not shown; then by how near chi2 is to 1, which is what the noise of the LR frames
    leaves; then what is not successful.

    Parameters
    ----------
    reconstructions : iterable of Reconstruction
        Of one burst, in any order.
    """
    counting: dict[str, Reconstruction] = {}
    for each in sorted(reconstructions, key=lambda each: each.score.attempt):
        known = counting.get(each.score.key)
        if known is None or each.score.status == SUCCESS or known.score.status != SUCCESS:
            counting[each.score.key] = each
    return sorted(counting.values(), key=_rank)


def best_last(reconstructions: Iterable[Reconstruction]) -> list[Reconstruction]:
    """Return the successful reconstructions of the first burst that has any, best last.

    Parameters
    ----------
    reconstructions : iterable of Reconstruction
        Of one raw run.
    """
    made = [each for each in reconstructions if each.score.status == SUCCESS]
    first = min((each.score.seq_num for each in made), default=0)
    return ranked(each for each in made if each.score.seq_num == first)[::-1]


def _rank(reconstruction: Reconstruction) -> tuple[bool, bool, float, float, float, str]:
    score = reconstruction.score
    chi2 = abs(math.log(score.chi2)) if score.chi2 > 0 else math.inf
    psnr_db, held_out_db = (
        -value if math.isfinite(value) else math.inf
        for value in (score.psnr_db, score.held_out_psnr_db)
    )
    double = score.traversal != CONTINUOUS
    return score.status != SUCCESS, double, psnr_db, held_out_db, chi2, score.label


def _of_length(values: Any, length: int) -> _Numbers:
    numbers = np.asarray(values, dtype=np.float64)[:length]
    return np.concatenate([numbers, np.full(length - len(numbers), np.nan)])


def _mean(values: _Numbers) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _median(values: _Numbers) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan
