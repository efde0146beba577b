"""The calibration record: everything a calibration found, in one versioned JSON document."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xfusion_bluesky.calibration.errors import CalibrationError, CalibrationMismatch
from xfusion_bluesky.fusion.arrays import Float64Array
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.pixelmap import PixelMap

__all__ = [
    "CalibrationInput",
    "CalibrationRecord",
    "CameraRadiometry",
    "LatticeCheck",
    "PointSpread",
    "RadiometricCalibration",
    "ResidualStatistics",
    "SpatialCalibration",
    "SpatialModel",
    "TemporalCalibration",
]

FOLDER_NAME = "calibration"
_UID = re.compile(r"[A-Za-z0-9-]{1,64}")

SpatialModel = Literal["similarity", "affine", "affine-radial"]
Row = tuple[float, float, float]
Shape = tuple[int, int]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LatticeCheck(_Part):
    """Proof that the lattice of the mesh was not taken for itself shifted by some cells."""

    method: Literal["features", "slits", "rotation", "mesh-defects", "assumed-centre"]
    """What decided: scintillator features, slit edges, rotation of the mesh, its broken cells; or
    nothing but the belief that both cameras look at one centre."""
    score: float
    """Of the shift chosen; the higher the better, on the scale of the method."""
    second_score: float
    """Of the best other shift."""
    margin: float
    """How clearly the shift was chosen, in units of the least margin that is accepted (>= 1); 0
    where it was assumed."""
    shift_cells: tuple[int, int]
    """Shift chosen, from the first guess of the lattice indices."""


class ResidualStatistics(_Part):
    """How well the nodes of the mesh agree with the map, in HR pixels."""

    rms_px: float = Field(ge=0)
    median_px: float = Field(ge=0)
    max_px: float = Field(ge=0)
    nodes: int = Field(ge=1)
    outliers: int = Field(ge=0)
    views: int = Field(ge=1)


class PointSpread(_Part):
    """Blur of the LR camera beyond its square pixel, as a Gaussian on the fused grid."""

    sigma_px: float = Field(ge=0)
    """In pixels of the fused grid (a quarter of an LR pixel)."""
    error_px: float = Field(ge=0)


class SpatialCalibration(_Part):
    """Map from LR camera pixels to HR camera pixels, both (row, column) of pixel centres.

    With ``a = lr_to_hr @ (row, column, 1)`` and centre c = middle of the HR frame, an LR pixel
    lies at ``c + (a - c) (1 + radial_per_px2 |a - c|^2)``.
    """

    model: SpatialModel
    lr_to_hr: tuple[Row, Row]
    radial_per_px2: float = 0.0
    covariance: tuple[tuple[float, ...], ...]
    """Of the six numbers of `lr_to_hr`, row by row, and of the radial one where it is fitted."""
    lr_shape: Shape
    """Rows and columns of LR frames; the map is only good for these readout regions."""
    hr_shape: Shape
    mirrored: bool
    residuals: ResidualStatistics
    cross_validated_px: dict[SpatialModel, float]
    """Rms error of left-out nodes by model, in HR pixels."""
    lattice: LatticeCheck
    pitch_um: float = Field(gt=0)
    pitch_sigma_um: float = Field(ge=0)
    lr_pixel_um: float = Field(gt=0)
    hr_pixel_um: float = Field(gt=0)
    point_spread: PointSpread | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        size = len(self.covariance)
        if size not in (6, 7) or any(len(row) != size for row in self.covariance):
            raise ValueError("the covariance must have 6 x 6 or 7 x 7 numbers")
        self.pixel_map()
        return self

    @property
    def affine(self) -> Float64Array:
        """`lr_to_hr` as a (2, 3) float64 array."""
        return np.array(self.lr_to_hr, dtype=np.float64)

    def pixel_map(self) -> PixelMap:
        """Return the map of the fused grid, over the field that both cameras see.

        Raises
        ------
        ValueError
            The cameras share no field.
        """
        return PixelMap.from_lr_to_hr(
            self.affine,
            self.lr_shape,
            self.hr_shape,
            radial_per_px2=self.radial_per_px2,
            covariance=np.array(self.covariance, dtype=np.float64),
        )


class TemporalCalibration(_Part):
    """What to add to the LR camera's times to put them on the HR camera's clock.

    With t in ns after T0 (frame time plus trigger delay) the time on the HR camera's clock is
    ``t + offset_ns + drift_ppm * 1e-6 * t``.
    """

    offset_ns: float
    offset_sigma_ns: float = Field(ge=0)
    drift_ppm: float = 0.0
    drift_sigma_ppm: float = Field(0.0, ge=0)
    method: Literal["trace", "image", "timestamps"]
    """Flicker of the beam, motion of the sample, or the cameras' own stamps alone."""
    samples: int = Field(ge=1)
    """HR frames that entered."""
    ambiguity: float = Field(ge=0)
    """Cost of the second best offset over that of the best, both above the noise; > 1.2 is safe."""

    def common_time_ns(self, lr_time_ns: Float64Array) -> Float64Array:
        """Put LR times on the HR camera's clock.

        Parameters
        ----------
        lr_time_ns : float64 array
            Mid-exposure, ns after T0 by the LR camera's clock.
        """
        return lr_time_ns + self.offset_ns + 1e-6 * self.drift_ppm * lr_time_ns


class CameraRadiometry(_Part):
    """How one camera turns light into counts."""

    dark_counts: float
    """Median over pixels."""
    flat_counts: float = Field(gt=0)
    """Median over pixels, above the dark: transmission 1."""
    counts_per_photon: float = Field(ge=0)
    """Slope of the photon transfer curve."""
    read_noise_counts: float = Field(ge=0)
    cell_pattern: float = Field(0.0, ge=0)
    """Rms of the fixed pattern that differs between storage cells, as a share of the flat."""
    linearity_error: float | None = Field(None, ge=0)
    """Largest deviation from a straight line, as a share of the flat; None = not measured."""
    flicker: float = Field(ge=0)
    """Rms of the frame mean of flats, as a share of it, shot noise taken off."""
    bad_pixels: int = Field(ge=0)
    saturation_counts: float | None = Field(None, gt=0)
    """Counts from which on a pixel is not believed."""


class RadiometricCalibration(_Part):
    """How bright the cameras are, absolutely and against each other."""

    lr: CameraRadiometry
    hr: CameraRadiometry
    gain: float = Field(gt=0)
    """LR transmission = ``gain`` * HR transmission + ``offset``."""
    offset: float = 0.0
    gain_sigma: float = Field(0.0, ge=0)
    offset_sigma: float = Field(0.0, ge=0)
    noise_alpha: float = Field(ge=0)
    """Of LR transmission: variance = alpha max(y, 0) + beta."""
    noise_beta: float = Field(ge=0)

    @property
    def noise(self) -> NoiseModel:
        """Noise model of LR transmission."""
        return NoiseModel(self.noise_alpha, self.noise_beta)


class CalibrationInput(_Part):
    """A run, or file, that the calibration was computed from."""

    role: Literal["dark", "flat", "mesh", "slits", "sample"]
    uid: str | None = None
    """Of the raw run; None for files that belong to none."""
    folder: str = ""
    """Name of the folder of such files."""
    sha256: tuple[str, ...] = ()
    """Of its files."""


class CalibrationRecord(_Part):
    """One calibration of the pair of cameras.

    Parts that were not measured are None. The record of a calibration run is in its start
    document, under ``calibration``, and in a file ``calibration/<uid>.json`` of the raw folder.
    """

    schema_version: Literal[1] = 1
    made_utc: datetime
    valid_hours: float = Field(24.0, gt=0)
    """How long after `made_utc` runs count as calibrated by this record."""
    spatial: SpatialCalibration
    temporal: TemporalCalibration | None = None
    radiometric: RadiometricCalibration | None = None
    inputs: tuple[CalibrationInput, ...] = ()
    remarks: tuple[str, ...] = ()
    """Sentences about what could not be measured, and why."""
    software: dict[str, str] = {}

    @model_validator(mode="after")
    def _zoned(self) -> Self:
        if self.made_utc.tzinfo is None:
            raise ValueError("made_utc must say its time zone")
        return self

    def uid_of(self, role: Literal["dark", "flat"]) -> str | None:
        """Return the run with the dark or flat that this calibration was made with."""
        return next((each.uid for each in self.inputs if each.role == role and each.uid), None)

    def check_frames(self, lr_shape: Shape, hr_shape: Shape) -> None:
        """Refuse frames of another readout region.

        Parameters
        ----------
        lr_shape, hr_shape : (int, int)
            Rows and columns of the frames to be used with this record.

        Raises
        ------
        CalibrationMismatch
            The shapes are not those of the calibration.
        """
        for camera, have, want in (
            ("LR", lr_shape, self.spatial.lr_shape),
            ("HR", hr_shape, self.spatial.hr_shape),
        ):
            if tuple(have) != tuple(want):
                raise CalibrationMismatch(
                    f"The calibration does not fit: {camera} frames are {have[0]} x {have[1]} "
                    f"pixels, it was made with {want[0]} x {want[1]}. Calibrate again with this "
                    "readout region, or name another calibration; the data are safe."
                )

    def age_hours(self, at: datetime | None = None) -> float:
        """Return the time since the calibration, in hours; `at` is now by default."""
        return ((at or datetime.now(UTC)) - self.made_utc).total_seconds() / 3600

    @staticmethod
    def file(raw_folder: Path, uid: str) -> Path:
        """Return where the record of a calibration run is kept.

        Parameters
        ----------
        raw_folder : Path
            Folder of raw data of the installation.
        uid : str
            Full uid of the calibration run.

        Raises
        ------
        CalibrationError
            `uid` is none.
        """
        if not _UID.fullmatch(uid):
            raise CalibrationError(
                f"{uid!r} is not the uid of a calibration; 'xfusion-bluesky calibration list' "
                "shows those there are."
            )
        return raw_folder / FOLDER_NAME / f"{uid}.json"

    def save(self, path: Path) -> None:
        """Write the record to its file, whole or not at all; the folder is made.

        Raises
        ------
        OSError
            The disk refuses.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.part")
        with draft.open("w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> CalibrationRecord:
        """Read a record from its file.

        Raises
        ------
        CalibrationError
            The file is missing, or is no record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CalibrationError(
                f"The calibration record {path} cannot be read: {error.strerror}. "
                "RE(calibrate(...)) makes one."
            ) from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "the file"
            raise CalibrationError(
                f"{path} is no calibration record: {key}: {first['msg']}. Take another one, or "
                "calibrate again; nothing was changed."
            ) from error
