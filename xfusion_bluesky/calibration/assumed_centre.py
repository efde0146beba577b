"""The lattice shift of people who know that both cameras look at one centre. It proves nothing."""

from __future__ import annotations

import numpy as np

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lattice_hypotheses import Evidence, Hypotheses
from xfusion_bluesky.calibration.record import LatticeCheck
from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = ["centred_hypothesis"]

_MIRROR = np.diag([1.0, -1.0])


def centred_hypothesis(
    hypotheses: Hypotheses, lr_shape: tuple[int, int], hr_shape: tuple[int, int]
) -> tuple[int, LatticeCheck, Evidence]:
    """Return the hypothesis that brings the centres of mirrored frames nearest to each other.

    XFusion's rule: the HR frame is mirrored left-right and turned by less than 45 degrees.

    Parameters
    ----------
    hypotheses : Hypotheses
        All symmetries and shifts.
    lr_shape, hr_shape : (int, int)
        Rows and columns of the frames.

    Returns
    -------
    int, LatticeCheck, Evidence
        The hypothesis; a check of margin 0; and the distances of the centres, negative, px.

    Raises
    ------
    CalibrationError
        There is none: the fields cannot overlap.
    """
    lr_centre, hr_centre = ((np.array(shape) - 1) / 2 for shape in (lr_shape, hr_shape))
    square = hypotheses.affine[:, :, :2]
    upright = square @ _MIRROR
    turn = np.abs(np.arctan2(upright[:, 1, 0], upright[:, 0, 0]))
    possible = (np.linalg.det(square) < 0) & (turn < np.pi / 4)
    if not possible.any():
        raise CalibrationError(
            "No lattice shift brings both cameras onto one centre: do both see the mesh? Nothing "
            "was changed."
        )
    away: Float64Array = np.linalg.norm(
        square @ lr_centre + hypotheses.affine[:, :, 2] - hr_centre, axis=1
    )
    score = np.where(possible, -away, -np.inf)
    best, second = (int(k) for k in np.argsort(-score)[:2])
    check = LatticeCheck(
        method="assumed-centre",
        score=float(score[best]),
        second_score=float(score[second]) if np.isfinite(score[second]) else float(score[best]),
        margin=0.0,
        shift_cells=(int(hypotheses.shift[best, 0]), int(hypotheses.shift[best, 1])),
    )
    return best, check, Evidence("assumed-centre", score, np.zeros(len(score)))
