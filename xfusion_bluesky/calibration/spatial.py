"""Spatial calibration: the map from LR to HR pixels from views of a mesh, with its proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.assumed_centre import centred_hypothesis
from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.feature_evidence import feature_evidence
from xfusion_bluesky.calibration.geometry_evidence import rotation_evidence, slit_evidence
from xfusion_bluesky.calibration.irregular_features import defect_features, flat_features
from xfusion_bluesky.calibration.lattice import Lattice, find_lattice
from xfusion_bluesky.calibration.lattice_hypotheses import Evidence, Hypotheses, centred_map
from xfusion_bluesky.calibration.lattice_pairing import choose_hypothesis, score_map
from xfusion_bluesky.calibration.model_choice import choose_model
from xfusion_bluesky.calibration.node_pairs import NodePairs, pair_nodes
from xfusion_bluesky.calibration.plane_fit import (
    PlaneFit,
    fit_plane,
    ransac_inliers,
)
from xfusion_bluesky.calibration.point_spread import point_spread
from xfusion_bluesky.calibration.record import (
    LatticeCheck,
    ResidualStatistics,
    Row,
    SpatialCalibration,
    SpatialModel,
)
from xfusion_bluesky.calibration.slit_edges import find_edges
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array
from xfusion_bluesky.fusion.operators import SCALE

__all__ = ["MeshView", "SpatialEvidence", "calibrate_spatial"]

_VIEWS_FOR_POINT_SPREAD = 3
_LATTICES = tuple[Lattice, Lattice]
_BELIEVED = 0.3
"""Robust weight below which a pair counts as an outlier."""


@dataclass(frozen=True, eq=False)
class MeshView:
    """The mesh, or the slits, seen by both cameras at one time.

    Parameters
    ----------
    lr, hr : (h, w), (H, W) float32
        Transmission: dark and flat corrected, mean of frames; NaN = masked.
    rotation_deg : float
        Angle of the stage, as far as it is known.
    label : str
        For messages, "view 1" and so on by default.
    """

    lr: Float32Array
    hr: Float32Array
    rotation_deg: float = 0.0
    label: str = ""


@dataclass(frozen=True, eq=False)
class SpatialEvidence:
    """What a spatial calibration rests on, for pictures.

    Parameters
    ----------
    nodes_lr_px, nodes_hr_px : (n, 2) float64
        Paired nodes, (row, column) in the frames.
    residual_px : (n, 2) float64
        HR node minus mapped LR node.
    view : (n,) int
        In which view.
    inlier : (n,) bool
        Believed by the fit.
    lattice_scores : (k, k) float32
        Score of the lattice shifts around the one chosen; NaN = not evaluated.
    lr_image, hr_image : (h, w), (H, W) float32
        First view.
    initial_lr_to_hr : (2, 3) float64
        Map before the calibration: centred, 4 HR pixels an LR pixel.
    """

    nodes_lr_px: Float64Array
    nodes_hr_px: Float64Array
    residual_px: Float64Array
    view: npt.NDArray[np.int64]
    inlier: BoolArray
    lattice_scores: Float32Array
    lr_image: Float32Array
    hr_image: Float32Array
    initial_lr_to_hr: Float64Array

    def save(self, path: Path) -> None:
        """Write all arrays into an ``.npz`` file."""
        with path.open("wb") as file:
            np.savez_compressed(
                file, **{each.name: getattr(self, each.name) for each in fields(self)}
            )

    @classmethod
    def load(cls, path: Path) -> SpatialEvidence:
        """Read what `save` wrote.

        Raises
        ------
        CalibrationError
            The file is missing, or is none of ours.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{each.name: file[each.name] for each in fields(cls)})
        except (OSError, ValueError, KeyError) as error:
            raise CalibrationError(
                f"The evidence of a calibration, {path}, cannot be read: {error}. The record "
                "beside it holds all numbers without it; nothing was changed."
            ) from error


def calibrate_spatial(
    views: Sequence[MeshView],
    *,
    lr_flat: Float32Array | None = None,
    hr_flat: Float32Array | None = None,
    slits: MeshView | None = None,
    pitch_um: float = 62.0,
    pitch_sigma_um: float = 0.5,
    scale_range: tuple[float, float] = (2.5, 6.5),
    assume_centred: bool = False,
) -> tuple[SpatialCalibration, SpatialEvidence]:
    """Calibrate where the pixels of one camera are in the other.

    Finds the mesh in both cameras, proves which of its cells is which, and fits the map through
    all nodes of all views. Nothing is assumed about mirrors, quarter turns or the shift between
    the cameras, except that they share 30 % of the smaller field.

    Parameters
    ----------
    views : sequence of MeshView
        One or more; views turned by 10 to 15 degrees also prove the lattice shift. A view without
        a usable mesh is left out, as long as half of them remain.
    lr_flat, hr_flat : float32 arrays, optional
        Flat minus dark, counts: dust, scratches and beam edges prove the lattice shift.
    slits : MeshView, optional
        View with the slits closed to a small rectangle.
    pitch_um, pitch_sigma_um : float
        Pitch of the mesh and its standard error, um. They only set the size of pixels in um.
    scale_range : (float, float)
        HR pixels along an LR pixel that are possible.
    assume_centred : bool
        Prove nothing: take the lattice shift that centres mirrored cameras on each other.

    Raises
    ------
    CalibrationError
        The views do not support a calibration; the message says which, why, and what to do.
    """
    lr_shape, hr_shape = _shapes(views, lr_flat, hr_flat, slits)
    used, lattices = _lattices(views)
    _check_scale(lattices[0], used[0], scale_range)
    hypotheses = Hypotheses.of(*lattices[0], lr_shape, hr_shape)
    if assume_centred:
        chosen, check, decisive = centred_hypothesis(hypotheses, lr_shape, hr_shape)
    else:
        evidence = _evidence(used, lattices, lr_flat, hr_flat, slits, hypotheses)
        chosen, check = choose_hypothesis(hypotheses, evidence)
        decisive = next(each for each in evidence if each.method == check.method)

    pairs = pair_nodes(lattices, hypotheses.affine[chosen])
    near = ransac_inliers(pairs)
    mirrored = bool(np.linalg.det(hypotheses.affine[chosen][:, :2]) < 0)
    model, errors = choose_model(pairs.only(near), hr_shape, mirrored)
    fit = fit_plane(pairs.only(near), model, hr_shape, mirrored)
    inlier = near.copy()
    inlier[near] = fit.weight >= _BELIEVED
    calibration = _calibration(
        fit, pairs, inlier, check, errors, (lr_shape, hr_shape), lattices, pitch_um, pitch_sigma_um
    )
    try:
        pixel_map = calibration.pixel_map()
    except ValueError as error:
        raise CalibrationError(f"The spatial calibration is of no use: {error}") from error
    images = [(view.lr, view.hr) for view in used[:_VIEWS_FOR_POINT_SPREAD]]
    return calibration.model_copy(
        update={"point_spread": point_spread(images, pixel_map)}
    ), SpatialEvidence(
        nodes_lr_px=pairs.lr_px,
        nodes_hr_px=pairs.hr_px,
        residual_px=pairs.hr_px - fit.at(pairs.lr_px),
        view=pairs.view,
        inlier=inlier,
        lattice_scores=score_map(hypotheses, chosen, decisive),
        lr_image=used[0].lr,
        hr_image=used[0].hr,
        initial_lr_to_hr=centred_map(SCALE * np.eye(2), lr_shape, hr_shape),
    )


def _shapes(
    views: Sequence[MeshView],
    lr_flat: Float32Array | None,
    hr_flat: Float32Array | None,
    slits: MeshView | None,
) -> tuple[tuple[int, int], tuple[int, int]]:
    if not views:
        raise CalibrationError(
            "No spatial calibration: there is no view of the mesh. Take at least one; nothing was "
            "changed."
        )
    shapes = []
    for camera, first, flat in (("LR", views[0].lr, lr_flat), ("HR", views[0].hr, hr_flat)):
        seen = [(_label(view, k), getattr(view, camera.lower())) for k, view in enumerate(views)]
        seen += [("the view of the slits", getattr(slits, camera.lower()))] if slits else []
        seen += [("the flat field", flat)] if flat is not None else []
        for label, image in seen:
            if image.ndim != 2 or image.shape != first.shape:
                raise CalibrationError(
                    f"No spatial calibration: {label} of the {camera} camera has the shape "
                    f"{image.shape}, the first view has {first.shape}. All images of a camera "
                    "must be of one readout region: take them again with the same settings; "
                    "nothing was changed."
                )
        shapes.append((int(first.shape[0]), int(first.shape[1])))
    return shapes[0], shapes[1]


def _label(view: MeshView, number: int) -> str:
    return view.label or f"view {number + 1}"


def _lattices(views: Sequence[MeshView]) -> tuple[list[MeshView], list[_LATTICES]]:
    used, lattices, failures = [], [], []
    for k, view in enumerate(views):
        try:
            found = [
                find_lattice(
                    np.asarray(image, np.float32), name=f"{camera} camera, {_label(view, k)}"
                )
                for camera, image in (("LR", view.lr), ("HR", view.hr))
            ]
        except CalibrationError as error:
            failures.append(error)
            continue
        used.append(view)
        lattices.append((found[0], found[1]))
    if not used or len(failures) > len(views) / 2:
        raise failures[0]
    return used, lattices


def _check_scale(lattices: _LATTICES, view: MeshView, scale_range: tuple[float, float]) -> None:
    lr, hr = (each.pitch_px for each in lattices)
    low, high = scale_range
    if not low <= hr / lr <= high:
        raise CalibrationError(
            f"No spatial calibration from {_label(view, 0)}: the mesh repeats every {lr:.2f} "
            f"pixels in the LR camera and every {hr:.2f} in the HR camera, a ratio of "
            f"{hr / lr:.2f}; between {low:g} and {high:g} is possible with these lenses. One "
            "camera sees another mesh, or a pattern that is none: look at both images; nothing "
            "was changed."
        )


def _evidence(
    views: list[MeshView],
    lattices: list[_LATTICES],
    lr_flat: Float32Array | None,
    hr_flat: Float32Array | None,
    slits: MeshView | None,
    hypotheses: Hypotheses,
) -> list[Evidence]:
    pitches = (lattices[0][0].pitch_px, lattices[0][1].pitch_px)
    found: list[Evidence | None] = []
    if lr_flat is not None and hr_flat is not None:
        pair = flat_features(lr_flat, hr_flat, *pitches)
        found.append(feature_evidence("features", [pair], hypotheses))
    found.append(rotation_evidence(lattices, hypotheses))
    if slits is not None:
        lr_edges, hr_edges = find_edges(slits.lr, "LR camera"), find_edges(slits.hr, "HR camera")
        found.append(slit_evidence(lr_edges, hr_edges, pitches[1], hypotheses))
    defects = [defect_features(view.lr, view.hr, *pitches) for view in views]
    found.append(feature_evidence("mesh-defects", defects, hypotheses))
    return [each for each in found if each is not None]


def _calibration(
    fit: PlaneFit,
    pairs: NodePairs,
    inlier: BoolArray,
    check: LatticeCheck,
    errors: dict[SpatialModel, float],
    shapes: tuple[tuple[int, int], tuple[int, int]],
    lattices: list[_LATTICES],
    pitch_um: float,
    pitch_sigma_um: float,
) -> SpatialCalibration:
    left = np.hypot(*(pairs.hr_px - fit.at(pairs.lr_px))[inlier].T)
    rows: list[Row] = [(float(a), float(b), float(c)) for a, b, c in fit.affine]
    lr_pitch, hr_pitch = (float(np.mean([pair[k].pitch_px for pair in lattices])) for k in (0, 1))
    return SpatialCalibration(
        model=fit.model,
        lr_to_hr=(rows[0], rows[1]),
        radial_per_px2=fit.radial_per_px2,
        covariance=tuple(tuple(row) for row in fit.covariance.tolist()),
        lr_shape=shapes[0],
        hr_shape=shapes[1],
        mirrored=bool(np.linalg.det(fit.affine[:, :2]) < 0),
        residuals=ResidualStatistics(
            rms_px=float(np.sqrt(np.square(left).mean())),
            median_px=float(np.median(left)),
            max_px=float(left.max()),
            nodes=int(inlier.sum()),
            outliers=int((~inlier).sum()),
            views=len(lattices),
        ),
        cross_validated_px=errors,
        lattice=check,
        pitch_um=pitch_um,
        pitch_sigma_um=pitch_sigma_um,
        lr_pixel_um=pitch_um / lr_pitch,
        hr_pixel_um=pitch_um / hr_pitch,
    )
