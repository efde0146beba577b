"""Which lattice shift also fits the mesh at other angles, and the edges of the slits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import spatial

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lattice import Lattice
from xfusion_bluesky.calibration.lattice_hypotheses import Evidence, Hypotheses, Method
from xfusion_bluesky.calibration.node_pairs import pair_nodes
from xfusion_bluesky.calibration.slit_edges import Edges
from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = ["rotation_evidence", "slit_evidence"]

_CLEARLY_WORSE = 4.0
"""Times the misfit of the best, from which on a hypothesis is ruled out."""

_NODE_FLOOR_PX = 0.1
_EDGE_FLOOR_PX = 0.25
"""HR pixels; misfits smaller than these are not worth comparing."""

_LARGEST_NODE_MISFIT = 0.02
_LARGEST_EDGE_MISFIT = 0.1
"""Of the best hypothesis, in pitches; the true one fits better."""

_SAMPLE = 40
_FEWEST_SEEN = 8
_REFINED = 24
_LEAST_PAIRED = 0.2
"""Of the nodes of a view; fields may share no more than that."""


def rotation_evidence(
    views: list[tuple[Lattice, Lattice]], hypotheses: Hypotheses
) -> Evidence | None:
    """Map the nodes of views at other angles: only the true map takes all of them onto nodes.

    Parameters
    ----------
    views : list of (Lattice, Lattice)
        LR and HR lattice of every view; the hypotheses come from the first.
    hypotheses : Hypotheses
        To judge.

    Returns
    -------
    Evidence or None
        None when no view is turned far enough against the first to tell anything.

    Raises
    ------
    CalibrationError
        No hypothesis fits all views.
    """
    if len(views) < 2:
        return None
    others = [
        (lr.position_px[_spread(len(lr.position_px))], spatial.cKDTree(hr.position_px))
        for lr, hr in views[1:]
    ]
    misfit = np.sqrt(sum(_misfit(hypotheses.affine, nodes, tree) ** 2 for nodes, tree in others))
    misfit /= np.sqrt(len(others))
    for chosen in np.argsort(misfit)[:_REFINED]:
        # Nodes scatter more than views disagree: compare the means of the views.
        refined = _disagreement(views, hypotheses.affine[chosen])
        misfit[chosen] = misfit[chosen] if refined is None else refined
    return _evidence(
        "rotation", misfit, _NODE_FLOOR_PX, _LARGEST_NODE_MISFIT * views[0][1].pitch_px
    )


def slit_evidence(
    lr_edges: Edges, hr_edges: Edges, hr_pitch_px: float, hypotheses: Hypotheses
) -> Evidence:
    """Map the edges of the slits from one camera to the other.

    Parameters
    ----------
    lr_edges, hr_edges : Edges
        The lit rectangle in both cameras.
    hr_pitch_px : float
        Pitch of the mesh in the HR camera.
    hypotheses : Hypotheses
        To judge.

    Raises
    ------
    CalibrationError
        No hypothesis takes one rectangle onto the other.
    """
    mapped = (
        np.einsum("hij,spj->hspi", hypotheses.affine[:, :, :2], lr_edges.points_px)
        + hypotheses.affine[:, None, None, :, 2]
    )
    away = np.abs(np.einsum("hspi,ti->hspt", mapped, hr_edges.normal) - hr_edges.distance_px).mean(
        axis=2
    )
    # Each edge must lie on another one: opposite edges are further apart than any misfit.
    misfit = np.sqrt(np.square(away.min(axis=2)).mean(axis=1))
    taken = np.sort(away.argmin(axis=2), axis=1)
    misfit[~(taken == np.arange(taken.shape[1])).all(axis=1)] = hr_pitch_px
    return _evidence("slits", misfit, _EDGE_FLOOR_PX, _LARGEST_EDGE_MISFIT * hr_pitch_px)


def _evidence(method: Method, misfit: Float64Array, floor_px: float, largest_px: float) -> Evidence:
    best = float(misfit.min())
    if best > largest_px:
        what = "the views at other angles" if method == "rotation" else "the edges of the slits"
        raise CalibrationError(
            f"The lattices of the two cameras cannot be paired: no shift, turn or mirror of the "
            f"mesh fits {what} better than {best:.1f} HR pixels ({largest_px:.1f} allowed). The "
            "stage or a camera moved between the exposures, or the cameras did not see the same "
            "views; take them again with simultaneous triggers. Nothing was changed."
        )
    unit = _CLEARLY_WORSE * max(best, floor_px) - best
    return Evidence(method, -misfit, (misfit - best) / unit)


def _misfit(affine: Float64Array, nodes: Float64Array, tree: spatial.cKDTree) -> Float64Array:
    """Typical distance from mapped LR nodes to the nearest HR nodes, for each of (h, 2, 3) maps.

    Nodes that leave the HR lattice say nothing; a map under which most do is as bad as can be.
    """
    mapped = np.einsum("hij,nj->hni", affine[:, :, :2], nodes) + affine[:, None, :, 2]
    distance, _ = tree.query(mapped.reshape(-1, 2))
    distance = distance.reshape(len(affine), -1)
    reach = _pitch(tree) / np.sqrt(2)  # of the middle between four nodes
    seen = distance < reach
    count = seen.sum(axis=1)
    power = np.where(seen, distance, 0) ** 2
    misfit: Float64Array = np.sqrt(power.sum(axis=1) / np.maximum(count, 1))
    misfit[count < _FEWEST_SEEN] = reach
    return misfit


def _disagreement(views: list[tuple[Lattice, Lattice]], affine: Float64Array) -> float | None:
    """Rms over the views of their mean residual from one map through all their nodes.

    None when a view has lost most of its nodes: then no map is near all views.
    """
    pairs = pair_nodes(views, affine)
    counts = np.bincount(pairs.view, minlength=len(views))
    expected = np.array([min(len(lr.index), len(hr.index)) for lr, hr in views])
    if (counts < np.maximum(_FEWEST_SEEN, _LEAST_PAIRED * expected)).any():
        return None
    design = np.column_stack([pairs.lr_px, np.ones(len(pairs))])
    left = pairs.hr_px - design @ np.linalg.lstsq(design, pairs.hr_px, rcond=None)[0]
    means = [left[pairs.view == k].mean(axis=0) for k in range(len(views))]
    return float(np.sqrt(np.square(means).sum(axis=1).mean()))


def _pitch(tree: spatial.cKDTree) -> float:
    """Typical distance to the nearest neighbour."""
    return float(np.median(tree.query(tree.data, k=2)[0][:, 1]))


def _spread(count: int) -> npt.NDArray[np.int64]:
    """Choose nodes spread evenly over all."""
    chosen: npt.NDArray[np.int64] = np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64)
    return chosen
