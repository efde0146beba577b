"""Calibration records as a calibration would have made them."""

from datetime import UTC, datetime

import numpy as np

from xfusion_bluesky.calibration.record import (
    CalibrationInput,
    CalibrationRecord,
    CameraRadiometry,
    LatticeCheck,
    RadiometricCalibration,
    ResidualStatistics,
    SpatialCalibration,
    TemporalCalibration,
)


def record(
    lr_shape,
    hr_shape,
    lr_to_hr=((4.0, 0.0, 1.5), (0.0, 4.0, 1.5)),
    *,
    offset_ns=None,
    drift_ppm=0.0,
    gain=None,
    offset=0.0,
    made_utc=None,
    inputs=(),
):
    """A record; by default its map is the nominal one of frames that cover one field."""
    spatial = SpatialCalibration(
        model="affine",
        lr_to_hr=lr_to_hr,
        covariance=tuple(map(tuple, 1e-6 * np.eye(6))),
        lr_shape=lr_shape,
        hr_shape=hr_shape,
        mirrored=bool(np.linalg.det(np.array(lr_to_hr)[:, :2]) < 0),
        residuals=ResidualStatistics(
            rms_px=0.02, median_px=0.02, max_px=0.06, nodes=250, outliers=2, views=4
        ),
        cross_validated_px={"affine": 0.02},
        lattice=LatticeCheck(
            method="rotation", score=2.0, second_score=1.0, margin=2.0, shift_cells=(0, 0)
        ),
        pitch_um=62.0,
        pitch_sigma_um=0.5,
        lr_pixel_um=8.0,
        hr_pixel_um=2.0,
    )
    temporal = None
    if offset_ns is not None:
        temporal = TemporalCalibration(
            offset_ns=offset_ns,
            offset_sigma_ns=10.0,
            drift_ppm=drift_ppm,
            method="trace",
            samples=20,
            ambiguity=3.0,
        )
    radiometric = None
    if gain is not None:
        camera = CameraRadiometry(
            dark_counts=10.0,
            flat_counts=100.0,
            counts_per_photon=1.0,
            read_noise_counts=1.0,
            flicker=0.0,
            bad_pixels=0,
        )
        radiometric = RadiometricCalibration(
            lr=camera, hr=camera, gain=gain, offset=offset, noise_alpha=0.0, noise_beta=0.0
        )
    return CalibrationRecord(
        made_utc=made_utc or datetime.now(UTC),
        spatial=spatial,
        temporal=temporal,
        radiometric=radiometric,
        inputs=tuple(CalibrationInput(role=role, uid=uid) for role, uid in inputs),
    )
