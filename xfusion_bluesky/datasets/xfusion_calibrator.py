"""A calibration from the mesh images in XFusion's calibrator folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from xfusion_bluesky.calibration.record import CalibrationInput, CalibrationRecord
from xfusion_bluesky.calibration.spatial import MeshView, SpatialEvidence, calibrate_spatial
from xfusion_bluesky.formats.xfusion_calibration import XFusionTransform
from xfusion_bluesky.formats.xfusion_case import ExperimentCase, open_case
from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = ["calibrate_cases", "xfusion_results"]

_SOFTWARE = ("xfusion-bluesky", "numpy", "scipy", "scikit-image")
_LEAST_FLAT = 0.01
_UNPROVEN = (
    "The lattice shift was not proven: the one that centres the mirrored cameras on each other was "
    "taken, as XFusion does."
)


def calibrate_cases(
    mesh: Sequence[Path],
    flat: Path | None = None,
    *,
    pitch_um: float = 62.0,
    pitch_sigma_um: float = 0.5,
    assume_centred: bool = False,
) -> tuple[CalibrationRecord, SpatialEvidence]:
    """Calibrate where the pixels of one camera are in the other.

    Parameters
    ----------
    mesh : sequence of Path
        Cases with the mesh in view, one or more; turned differently they prove the lattice shift.
    flat : Path, optional
        Case without mesh or sample: its dust proves the lattice shift.
    pitch_um, pitch_sigma_um : float
        Of the mesh.
    assume_centred : bool
        Take the lattice shift that centres the cameras on each other, mirrored, as proven.

    Returns
    -------
    CalibrationRecord
        With a spatial part only.
    SpatialEvidence
        What it rests on.

    Raises
    ------
    FormatError
        A file is missing or damaged.
    CalibrationError
        The images do not support a calibration.
    """
    cases = [open_case(path, calibration=True) for path in mesh]
    lr_flat = hr_flat = None
    inputs = [_input("mesh", case) for case in cases]
    if flat is not None:
        even = open_case(flat, calibration=True)
        lr_flat, hr_flat = even.lr_average(), even.hr_average()
        inputs.append(_input("flat", even))
    views = [
        MeshView(
            _over(case.lr_average(), lr_flat), _over(case.hr_average(), hr_flat), label=case.name
        )
        for case in cases
    ]
    spatial, evidence = calibrate_spatial(
        views,
        lr_flat=lr_flat,
        hr_flat=hr_flat,
        pitch_um=pitch_um,
        pitch_sigma_um=pitch_sigma_um,
        assume_centred=assume_centred,
    )
    record = CalibrationRecord(
        made_utc=datetime.now(UTC),
        spatial=spatial,
        inputs=tuple(inputs),
        remarks=(_UNPROVEN,) if assume_centred else (),
        software={name: version(name) for name in _SOFTWARE},
    )
    return record, evidence


def xfusion_results(record: CalibrationRecord, transform: XFusionTransform) -> dict[str, float]:
    """Return the lines of XFusion's ``calibration_results_*.txt``.

    Parameters
    ----------
    record : CalibrationRecord
        What was found.
    transform : XFusionTransform
        What XFusion can express of it.
    """
    spatial = record.spatial
    return {
        "num_pairs": spatial.residuals.nodes,
        "scale_factor": (transform.scale_row + transform.scale_col) / 2,
        "pixel_size_um_phantom": spatial.hr_pixel_um,
        "pixel_size_um_shimadzu": spatial.lr_pixel_um,
        "residual_rms_px": spatial.residuals.rms_px,
        "residual_max_px": spatial.residuals.max_px,
        "not_expressed_rms_px": transform.residual_rms_px,
    }


def _over(image: Float32Array, flat: Float32Array | None) -> Float32Array:
    if flat is None or flat.shape != image.shape:
        return image  # shapes that differ are told about by the calibration
    usable = flat > _LEAST_FLAT * np.median(flat)
    divided: Float32Array = np.where(usable, image / np.where(usable, flat, 1), np.nan)
    return divided.astype(np.float32)


def _input(role: str, case: ExperimentCase) -> CalibrationInput:
    # One checksum a camera: hundreds of files would hide everything else in the record.
    checksums = tuple(_checksum(folder.files) for folder in (case.lr, case.hr))
    return CalibrationInput.model_validate({"role": role, "folder": case.name, "sha256": checksums})


def _checksum(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
