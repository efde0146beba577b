"""Whether the cameras have moved against each other since they were calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from xfusion_bluesky.fusion.pair_shift import pair_shift
from xfusion_bluesky.fusion.pairs import coincident_pairs, spread_pairs
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["LARGEST_DRIFT_PX", "Drift", "registration_drift"]

LARGEST_DRIFT_PX = 0.2
"""HR pixels; beyond, fused frames lose more than any backend gains."""

_SIGNIFICANT = 3.0


@dataclass(frozen=True)
class Drift:
    """Shift of the LR camera against the map it was calibrated with.

    Parameters
    ----------
    shift_px : (float, float)
        (row, column) of the fused grid by which LR frames lie further than HR frames, HR pixels;
        NaN when no pair of frames could show it.
    error_px : (float, float)
        Its standard errors; inf when unknown.
    pairs : int
        Pairs of frames of one time that were compared.
    flagged : bool
        Whether the shift is longer than 0.2 HR pixels and three standard errors: calibrate again.
    """

    shift_px: tuple[float, float]
    error_px: tuple[float, float]
    pairs: int
    flagged: bool


def registration_drift(sequence: DualSequence) -> Drift:
    """Compare the frames that both cameras took at one time, eight pairs at most.

    Works on anything that shows structure: sample, mesh, or dust in flat fields.

    Parameters
    ----------
    sequence : DualSequence
        A burst on the grids of its calibration.
    """
    found = [
        pair_shift(
            sequence.hr(j), sequence.hr_mask(j), sequence.lr(i), sequence.lr_mask(i), sequence.noise
        )
        for i, j in spread_pairs(list(coincident_pairs(sequence)))
    ]
    shifts = [each for each in found if each is not None]
    if not shifts:
        return Drift((np.nan, np.nan), (np.inf, np.inf), 0, False)
    precisions = [linalg.inv(each.covariance + 1e-12 * np.eye(2)) for each in shifts]
    covariance = linalg.inv(sum(precisions))
    mean = covariance @ sum(p @ each.shift_px for p, each in zip(precisions, shifts, strict=True))
    error = np.sqrt(np.diag(covariance))
    if len(shifts) > 1:
        # What all pairs have in common is drift; where they disagree, believe the scatter.
        scatter = np.std([each.shift_px for each in shifts], axis=0, ddof=1)
        error = np.maximum(error, scatter / np.sqrt(len(shifts)))
    scale = float(np.sqrt(abs(np.linalg.det(sequence.pixel_map.affine[:, :2]))))
    (row, column), (row_error, column_error) = (scale * mean).tolist(), (scale * error).tolist()
    length, length_error = float(np.hypot(row, column)), float(np.hypot(row_error, column_error))
    return Drift(
        (row, column),
        (row_error, column_error),
        len(shifts),
        length > max(LARGEST_DRIFT_PX, _SIGNIFICANT * length_error),
    )
