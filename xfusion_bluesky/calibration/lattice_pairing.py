"""Decide which node of the mesh in one camera is which node in the other, or refuse."""

from __future__ import annotations

import numpy as np

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lattice_hypotheses import (
    SYMMETRY_NAMES,
    Evidence,
    Hypotheses,
)
from xfusion_bluesky.calibration.record import LatticeCheck
from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = ["choose_hypothesis", "score_map"]

_MOST_PENALTY = 3.0
"""One kind of evidence, however loud, must not outvote all others."""

_MOST_UNSURE = 0.5
"""Nor may evidence that decides nothing by itself: it can only add to what does, or object."""

_MAP_REACH = 6


def choose_hypothesis(hypotheses: Hypotheses, evidence: list[Evidence]) -> tuple[int, LatticeCheck]:
    """Add up the evidence; accept the best hypothesis when the second best is clearly worse.

    Parameters
    ----------
    hypotheses : Hypotheses
        All symmetries and shifts.
    evidence : list of Evidence
        Any number; none at all proves nothing.

    Returns
    -------
    int, LatticeCheck
        The hypothesis, and what proves it.

    Raises
    ------
    CalibrationError
        The best and the second best are too close, or two kinds of evidence disagree.
    """
    if len(hypotheses) == 0 or not evidence:
        raise CalibrationError(
            "The lattice shift cannot be proven: the mesh looks the same from cell to cell, and "
            "nothing else is seen in both cameras. " + _ADVICE
        )
    sure = [each for each in evidence if each.margin >= 1]
    for each in sure[1:]:
        if each.penalty[int(np.argmin(sure[0].penalty))] >= 1:
            raise CalibrationError(
                f"The lattice shift cannot be proven: {sure[0].method} and {each.method} "
                "contradict each other. A camera or the stage moved between the exposures, or an "
                "image is from another setup. " + _ADVICE
            )
    total = np.zeros(len(hypotheses))
    for each in evidence:
        total += np.clip(each.penalty, 0, _MOST_PENALTY if each.margin >= 1 else _MOST_UNSURE)
    best, second = (int(k) for k in np.argsort(total)[:2]) if len(total) > 1 else (0, 0)
    margin = float(total[second] - total[best]) if len(total) > 1 else _MOST_PENALTY
    decisive = max(evidence, key=lambda each: each.margin)
    if margin < 1 or not sure or sure[0].penalty[best] >= 1:
        raise CalibrationError(
            "The best and second-best lattice shift are too close: "
            f"{_name(hypotheses, best)} and {_name(hypotheses, second)} differ by "
            f"{min(margin, decisive.margin):.2f} of the least margin "
            f"({', '.join(each.method for each in evidence)}). " + _ADVICE
        )
    others = np.delete(decisive.score, best)
    return best, LatticeCheck(
        method=decisive.method,
        score=float(decisive.score[best]),
        second_score=float(others.max()) if others.size else float(decisive.score[best]),
        margin=margin,
        shift_cells=_shift(hypotheses, best),
    )


_ADVICE = (
    "Take flat fields with both cameras (dust and scratches of the scintillator decide), rotate "
    "the mesh by 10 to 15 degrees either way for two more views, or take a view with the slits "
    "closed to a small rectangle. Nothing was changed."
)


def score_map(hypotheses: Hypotheses, chosen: int, evidence: Evidence) -> Float32Array:
    """Scores of the shifts around the one chosen, of its symmetry.

    Parameters
    ----------
    hypotheses : Hypotheses
        All.
    chosen : int
        The one in the middle of the map.
    evidence : Evidence
        Whose scores.

    Returns
    -------
    (13, 13) float32
        NaN where a shift was not evaluated.
    """
    side = 2 * _MAP_REACH + 1
    scores = np.full((side, side), np.nan, dtype=np.float32)
    step = hypotheses.shift - hypotheses.shift[chosen] + _MAP_REACH
    shown = (hypotheses.symmetry == hypotheses.symmetry[chosen]) & (
        (step >= 0) & (step < side)
    ).all(axis=1)
    scores[tuple(step[shown].T)] = evidence.score[shown]
    return scores


def _name(hypotheses: Hypotheses, number: int) -> str:
    seen = SYMMETRY_NAMES[int(hypotheses.symmetry[number])]
    return f"{_shift(hypotheses, number)} cells {seen}"


def _shift(hypotheses: Hypotheses, number: int) -> tuple[int, int]:
    row, column = hypotheses.shift[number].tolist()
    return row, column
