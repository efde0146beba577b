"""Calibration files of XFusion, and what they mean as a map from LR to HR camera pixels.

XFusion resizes an LR frame by 3 times a scale for each axis, pads it to the size of the HR frame,
and moves and turns it onto the HR frame, which it mirrors left-right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.small_array import read_small_array
from xfusion_bluesky.formats.small_file import UNCHANGED, check_name, entries, read_small
from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = [
    "Convention",
    "XFusionTransform",
    "from_lr_to_hr",
    "read_results",
    "read_transform",
    "read_transform_folder",
    "to_lr_to_hr",
    "write_transform",
]

Convention = Literal["applied", "fitted"]
"""``applied``: where the pixels of an LR frame come to lie when XFusion fuses; the half pixel of
its resizing included. ``fitted``: where its calibration took them to be; with the usual optics
the two are 0.17 HR px apart."""

_ENLARGEMENT = 3
_MOST_BYTES = 1_000_000
_ROTATION_NOT_APPLIED_RAD = 0.06
_SCALES = (0.01, 100.0)
_LARGEST_SHIFT_PX = 1e6
_GRID_POINTS = 9
_LINE = re.compile(r"([^:]{1,100}):(.{0,200})")


@dataclass(frozen=True, eq=False)
class XFusionTransform:
    """What XFusion knows of the registration.

    Parameters
    ----------
    matrix : (3, 3) float64
        ``tfm_*.npy``: from the resized and padded LR frame to the mirrored HR frame, (x, y, 1) in
        HR pixels; a rotation and a shift.
    scale_row, scale_col : float
        ``scale_factor_*.npy``: of the LR frame enlarged 3 times.
    rotation_deg : float
        ``rot_*.npy``: by which XFusion turned the LR image before it fitted; 0 without file.
    residual_rms_px : float
        How far this is from the map it was made of, in HR pixels; 0 when it was read.
    """

    matrix: Float64Array
    scale_row: float
    scale_col: float
    rotation_deg: float = 0.0
    residual_rms_px: float = 0.0


def to_lr_to_hr(
    transform: XFusionTransform,
    lr_shape: tuple[int, int],
    hr_shape: tuple[int, int],
    *,
    convention: Convention = "applied",
) -> Float64Array:
    """Return the map of full LR frames to full HR frames, (2, 3), in (row, column).

    Parameters
    ----------
    transform : XFusionTransform
        Of frames of these sizes.
    lr_shape, hr_shape : (int, int)
        Height and width of the frames.
    convention : {"applied", "fitted"}
        See `Convention`.

    Raises
    ------
    FormatError
        XFusion turned the LR image before it fitted, and would not when it fuses.
    """
    if abs(math.radians(transform.rotation_deg)) > _ROTATION_NOT_APPLIED_RAD:
        raise FormatError(
            f"XFusion turned the LR image by {transform.rotation_deg:.2f} degrees before it fitted "
            "this transformation, and its files do not say the rest of the map: calibrate again. "
            f"{UNCHANGED}"
        )
    conditioning = np.eye(3)
    for axis, scale in enumerate((transform.scale_row, transform.scale_col)):
        resized = math.floor(_ENLARGEMENT * lr_shape[axis] * scale)
        conditioning[axis] = _row(axis, lr_shape[axis], hr_shape[axis], resized, scale, convention)
    matrix = _swapped(transform.matrix)
    mirror = np.diag([1.0, -1.0, 1.0])
    mirror[1, 2] = hr_shape[1] - 1
    full: Float64Array = (mirror @ matrix @ conditioning)[:2]
    return full


def from_lr_to_hr(
    affine: npt.ArrayLike, lr_shape: tuple[int, int], hr_shape: tuple[int, int]
) -> XFusionTransform:
    """Return what comes nearest to a map among those XFusion can express.

    It has neither shear nor distortion, and resizes to whole pixels.

    Parameters
    ----------
    affine : (2, 3)
        LR camera (row, column) to HR camera (row, column), px.
    lr_shape, hr_shape : (int, int)
        Height and width of the frames.

    Returns
    -------
    XFusionTransform
        For the convention ``applied``; it says how far it is from the map.

    Raises
    ------
    FormatError
        The cameras are not mirrored against each other, which XFusion takes for granted.
    """
    full = np.asarray(affine, dtype=np.float64)
    mirrored = np.vstack([full[0], [0, 0, hr_shape[1] - 1] - full[1]])
    if np.linalg.det(mirrored[:, :2]) <= 0:
        raise FormatError(
            "XFusion mirrors HR frames left-right, and in this map the cameras are not mirrored "
            f"against each other: its files cannot express it. {UNCHANGED}"
        )
    axes = [np.linspace(0, side - 1, _GRID_POINTS) for side in lr_shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    target = points @ mirrored[:, :2].T + mirrored[:, 2]
    wanted = np.linalg.norm(mirrored[:, :2], axis=0) * lr_shape
    best: XFusionTransform | None = None
    for rows, columns in product(*((math.floor(side), math.ceil(side)) for side in wanted)):
        # A trace more than the quotient, so that rounding down gives these sizes.
        scales = [
            resized / (_ENLARGEMENT * side) * (1 + 1e-12)
            for resized, side in zip((rows, columns), lr_shape, strict=True)
        ]
        conditioning = np.array(
            [
                _row(axis, lr_shape[axis], hr_shape[axis], resized, scales[axis], "applied")
                for axis, resized in enumerate((rows, columns))
            ]
        )
        source = points @ conditioning[:, :2].T + conditioning[:, 2]
        rigid = _rigid(source, target)
        rest = source @ rigid[:2, :2].T + rigid[:2, 2] - target
        rms = float(np.sqrt(np.square(rest).sum(axis=1).mean()))
        if best is None or rms < best.residual_rms_px:
            best = XFusionTransform(
                _swapped(rigid), float(scales[0]), float(scales[1]), residual_rms_px=rms
            )
    if best is None:
        raise ValueError(f"a map without size: {full.tolist()}")
    return best


def read_transform(
    tfm_file: Path, scale_file: Path, rotation_file: Path | None = None
) -> XFusionTransform:
    """Read what XFusion is told by ``--tfm_file`` and ``--meta_file_scale``.

    Parameters
    ----------
    tfm_file, scale_file : Path
        ``tfm_*.npy`` and ``scale_factor_*_corrected_*.npy``.
    rotation_file : Path, optional
        ``rot_*.npy``.

    Raises
    ------
    FormatError
        One is missing, too large, no such array, or means something impossible.
    """
    matrix = read_small_array(tfm_file, (3, 3))
    turn = matrix[:2, :2]
    rigid = (
        np.allclose(matrix[2], [0, 0, 1], atol=1e-9)
        and np.allclose(turn @ turn.T, np.eye(2), atol=1e-3)
        and np.linalg.det(turn) > 0
        and np.abs(matrix[:2, 2]).max() < _LARGEST_SHIFT_PX
    )
    if not rigid:
        raise _wrong(tfm_file, f"{matrix.tolist()} is no rotation and shift")
    scale = read_small_array(scale_file, (2,))
    if not (_SCALES[0] < scale.min() and scale.max() < _SCALES[1]):
        raise _wrong(scale_file, f"{scale.tolist()} are no scales of an LR frame")
    rotation = 0.0
    if rotation_file is not None:
        rotation = float(read_small_array(rotation_file, None).ravel()[0])
    return XFusionTransform(matrix, float(scale[0]), float(scale[1]), rotation)


def read_transform_folder(folder: Path) -> XFusionTransform:
    """Read the one calibration in a folder, by the names that XFusion gives.

    Raises
    ------
    FormatError
        There is none, or more than one, or as for `read_transform`.
    """
    found: dict[str, list[Path]] = {"tfm_": [], "scale_factor_": [], "rot_": []}
    for path in entries(folder):
        for prefix, paths in found.items():
            is_wanted = prefix != "scale_factor_" or "_corrected" in path.name
            if path.name.startswith(prefix) and path.suffix == ".npy" and is_wanted:
                paths.append(path)
    for prefix, paths in found.items():
        if len(paths) != 1 and (paths or prefix != "rot_"):
            corrected = "*_corrected*" if prefix == "scale_factor_" else "*"
            raise FormatError(
                f"The folder {folder} holds {len(paths)} files {prefix}{corrected}.npy, where one "
                f"calibration has one: name the files themselves. {UNCHANGED}"
            )
    rotation = found["rot_"][0] if found["rot_"] else None
    return read_transform(found["tfm_"][0], found["scale_factor_"][0], rotation)


def read_results(path: Path) -> dict[str, str]:
    """Read ``calibration_results_*.txt``: lines of key and value.

    Raises
    ------
    FormatError
        It is too large, or no text of such lines.
    """
    results: dict[str, str] = {}
    for number, line in enumerate(read_small(path, _MOST_BYTES).decode("latin-1").splitlines(), 1):
        found = _LINE.fullmatch(line)
        if line.strip() and (found is None or not line.isprintable()):
            raise _wrong(path, f"line {number} is no key and value")
        if found is not None:
            results[found[1].strip()] = found[2].strip()
    return results


def write_transform(
    folder: Path,
    transform: XFusionTransform,
    calibration_id: str,
    results: Mapping[str, float | str] | None = None,
) -> tuple[Path, Path]:
    """Write the files that XFusion reads.

    Parameters
    ----------
    folder : Path
        Made when missing; files of the same id are replaced.
    transform : XFusionTransform
        What to write.
    calibration_id : str
        Part of every name, XFusion's ``cal_id``.
    results : mapping, optional
        Lines of ``calibration_results_<id>.txt``.

    Returns
    -------
    tfm_file, scale_file : Path
        For XFusion's ``--tfm_file`` and ``--meta_file_scale``.

    Raises
    ------
    FormatError
        The id cannot be part of a name.
    OSError
        The disk refuses.
    """
    check_name(calibration_id, "The calibration id")
    folder.mkdir(parents=True, exist_ok=True)
    tfm_file = folder / f"tfm_{calibration_id}.npy"
    scale_file = folder / f"scale_factor_{calibration_id}_corrected.npy"
    np.save(tfm_file, transform.matrix, allow_pickle=False)
    np.save(scale_file, np.array([transform.scale_row, transform.scale_col]), allow_pickle=False)
    np.save(
        folder / f"rot_{calibration_id}.npy", np.array(transform.rotation_deg), allow_pickle=False
    )
    lines = [f"{key}:{value}" for key, value in (results or {}).items()]
    text = "\n".join([*lines, ""])
    (folder / f"calibration_results_{calibration_id}.txt").write_text(text, encoding="utf-8")
    return tfm_file, scale_file


def _row(
    axis: int, lr_side: int, hr_side: int, resized: int, scale: float, convention: Convention
) -> list[float]:
    """Return one row of the matrix from LR pixels to the resized and padded frame."""
    pad = (hr_side - resized) // 2
    if convention == "applied":
        # Resizing keeps the corners of the frame: pixel centres are half a pixel inside.
        step = resized / lr_side
        shift = 0.5 * step - 0.5 + pad
    else:
        step = _ENLARGEMENT * scale
        shift = (0.5 * _ENLARGEMENT - 0.5) * scale + pad
    row = [0.0, 0.0, shift]
    row[axis] = step
    return row


def _rigid(source: Float64Array, target: Float64Array) -> Float64Array:
    """Return the rotation and shift, (3, 3), that bring points nearest to others (Kabsch)."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((target - target_mean).T @ (source - source_mean))
    turn = left @ np.diag([1.0, np.linalg.det(left @ right)]) @ right
    rigid: Float64Array = np.eye(3)
    rigid[:2, :2] = turn
    rigid[:2, 2] = target_mean - turn @ source_mean
    return rigid


def _swapped(matrix: Float64Array) -> Float64Array:
    """Exchange (x, y) and (row, column) in a (3, 3) matrix."""
    order = [1, 0, 2]
    swapped: Float64Array = matrix[np.ix_(order, order)]
    return swapped


def _wrong(path: Path, why: str) -> FormatError:
    return FormatError(f"The XFusion file {path} cannot be used: {why}. {UNCHANGED}")
