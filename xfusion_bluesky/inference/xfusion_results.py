"""Results of a real experiment as XFusion leaves them: arrays of all frames, and errors."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.images import read_image
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.xfusion_metrics import psnr_xfusion_actual
from xfusion_bluesky.inference.frame_set import FrameSet
from xfusion_bluesky.inference.scoring import FrameScore, image_name

__all__ = ["write_arrays", "write_errors"]

_WHITE = 255


def write_arrays(folder: Path, source: FrameSet, scores: Sequence[FrameScore]) -> Path:
    """Write ``<case>.npz``: ``result_img``, ``lo_img`` and, in ``double``, ``hi_img``.

    Parameters
    ----------
    folder : Path
        With the fused images.
    source : FrameSet
        What they were made of.
    scores : sequence of FrameScore
        Of the frames, in order.

    Returns
    -------
    Path
        The file; arrays are uint8, frames first. A frame that is masked is black.

    Raises
    ------
    OSError
        The disk refuses.
    """
    sequence = source.sequence(source.passes()[0])
    arrays = {
        "result_img": [
            _fused(folder, source, score) if score.valid else np.zeros(sequence.shape, np.float32)
            for score in scores
        ],
        "lo_img": [sequence.lr(score.index) for score in scores],
        "hi_img": [truth for score in scores if (truth := source.truth(score.index)) is not None],
    }
    path = folder / f"{source.title}.npz"
    stacks: dict[str, Any] = {
        name: np.stack([_eight_bit(frame) for frame in frames])
        for name, frames in arrays.items()
        if frames
    }
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as stream:
            np.savez_compressed(stream, **stacks)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def write_errors(path: Path, source: FrameSet, scores: Sequence[FrameScore]) -> Path:
    """Write XFusion's file of errors: index, psnr, aad, ssim; return its path.

    Parameters
    ----------
    path : Path
        The file, in the folder with the fused images.
    source : FrameSet
        What they were made of, with a truth.
    scores : sequence of FrameScore
        Of the frames, in order.
    """
    with path.open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(("index", "psnr", "aad", "ssim"))
        for index, score in enumerate(scores):
            truth = source.truth(score.index)
            if truth is None or not score.valid:
                continue
            peak = psnr_xfusion_actual(_fused(path.parent, source, score), truth)
            lines.writerow((index, peak, score.aad_xfusion, score.ssim_xfusion))
    return path


def _fused(folder: Path, source: FrameSet, score: FrameScore) -> Float32Array:
    image, _ = read_image(folder / image_name(source.stem(score.index), score))
    return image


def _eight_bit(frame: Float32Array) -> npt.NDArray[np.uint8]:
    known = np.nan_to_num(frame, nan=0.0)
    pixels: npt.NDArray[np.uint8] = np.rint(_WHITE * np.clip(known, 0, 1)).astype(np.uint8)
    return pixels
