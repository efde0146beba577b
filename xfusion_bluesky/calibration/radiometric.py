"""How bright both cameras are, absolutely and against each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xfusion_bluesky.calibration.camera_references import CameraReferences
from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.flicker import flicker_of_flats
from xfusion_bluesky.calibration.frame_statistics import BurstFrames, FrameStatistics
from xfusion_bluesky.calibration.gain_offset import GainOffset, gain_offset
from xfusion_bluesky.calibration.linearity import linearity
from xfusion_bluesky.calibration.photon_transfer import LightLevel
from xfusion_bluesky.calibration.record import CameraRadiometry, RadiometricCalibration
from xfusion_bluesky.fusion.arrays import Float32Array

__all__ = [
    "Exposure",
    "calibrate_radiometric",
    "camera_radiometry",
    "radiometric_calibration",
    "radiometric_remarks",
]

_MOST_BAD = 0.2
_LEAST_FRAME = 0.5


@dataclass(frozen=True, eq=False)
class Exposure:
    """Flats taken with another exposure, for linearity and the photon transfer curve.

    Parameters
    ----------
    exposure_ns : float
        Of every frame.
    bursts : iterable of bursts
        As for `CameraReferences.from_frames`.
    """

    exposure_ns: float
    bursts: Iterable[BurstFrames]


def calibrate_radiometric(
    lr_dark: Iterable[BurstFrames],
    lr_flat: Iterable[BurstFrames],
    hr_dark: Iterable[BurstFrames],
    hr_flat: Iterable[BurstFrames],
    *,
    pairs: Sequence[tuple[Float32Array, Float32Array]] | None = None,
    lr_exposures: Sequence[Exposure] = (),
    hr_exposures: Sequence[Exposure] = (),
    lr_cells: bool = True,
) -> RadiometricCalibration:
    """Calibrate the brightness of both cameras from bursts of dark and flat.

    Parameters
    ----------
    lr_dark, lr_flat, hr_dark, hr_flat : iterable of bursts
        Each an iterable of (H, W) counts, None where a frame is missing or left out.
    pairs : sequence of (hx, y), optional
        As for `gain_offset`. Without them both cameras are taken to agree, as transmission does by
        definition in the flat: gain 1, offset 0.
    lr_exposures, hr_exposures : sequence of Exposure
        Flats with other exposures, two or more with that of the flat left apart.
    lr_cells : bool
        Whether the LR camera has storage cells with a pattern of their own.

    Raises
    ------
    CalibrationError
        The frames do not support a calibration; the message names camera and frame.
    """
    lr = CameraReferences.from_frames(lr_dark, lr_flat, cells=lr_cells, what="LR")
    hr = CameraReferences.from_frames(hr_dark, hr_flat, what="HR")
    return radiometric_calibration(
        lr, hr, pairs=pairs, lr_exposures=lr_exposures, hr_exposures=hr_exposures
    )


def radiometric_calibration(
    lr: CameraReferences,
    hr: CameraReferences,
    *,
    pairs: Sequence[tuple[Float32Array, Float32Array]] | None = None,
    lr_exposures: Sequence[Exposure] = (),
    hr_exposures: Sequence[Exposure] = (),
) -> RadiometricCalibration:
    """Calibrate the brightness of both cameras from references that were read already.

    Parameters
    ----------
    lr, hr : CameraReferences
        Of the two cameras.
    pairs, lr_exposures, hr_exposures
        As for `calibrate_radiometric`.

    Raises
    ------
    CalibrationError
        The references do not support a calibration.
    """
    between = gain_offset(pairs) if pairs else GainOffset(1.0, 0.0, 0.0, 0.0)
    if not between.gain > 0:
        raise CalibrationError(
            f"The LR camera gets darker where the HR camera gets brighter (gain {between.gain:.3g})"
            ": the pairs of frames do not show one scene. Check the registration and the times of "
            "the pairs; the data are safe."
        )
    noise = lr.noise()
    return RadiometricCalibration(
        lr=camera_radiometry(lr, "LR", lr_exposures),
        hr=camera_radiometry(hr, "HR", hr_exposures),
        gain=between.gain,
        offset=between.offset,
        gain_sigma=between.gain_sigma,
        offset_sigma=between.offset_sigma,
        noise_alpha=noise.alpha,
        noise_beta=noise.beta,
    )


def radiometric_remarks(
    lr: CameraReferences, radiometric: RadiometricCalibration
) -> tuple[str, ...]:
    """Say what a calibration of the brightness could not measure, and why; for the record.

    Parameters
    ----------
    lr : CameraReferences
        Of the LR camera.
    radiometric : RadiometricCalibration
        What was found with them.
    """
    remarks = []
    if lr.flat.cells is not None and not lr.flat.cells.degrees:
        remarks.append(
            "The gains of the LR camera's storage cells were not corrected, and its counts per "
            "photon are uncertain: one burst of flats cannot tell them from photon noise. Take two "
            "or more, better four."
        )
    if radiometric.gain_sigma == 0:
        remarks.append(
            "Gain 1 and offset 0 between the cameras are taken for granted: no frames of both "
            "with contrast were compared."
        )
    if radiometric.lr.linearity_error is None or radiometric.hr.linearity_error is None:
        remarks.append(
            "Linearity was not measured: it needs flats at three or more exposures of each camera."
        )
    return tuple(remarks)


def camera_radiometry(
    references: CameraReferences, what: str = "camera", exposures: Sequence[Exposure] = ()
) -> CameraRadiometry:
    """Return how one camera turns light into counts.

    Parameters
    ----------
    references : CameraReferences
        Its dark and flat, two or more frames each.
    what : str
        Names the camera in errors.
    exposures : sequence of Exposure
        Flats with other exposures.

    Raises
    ------
    CalibrationError
        The flat is saturated or unsteady, too many pixels are bad, or there is one frame only.
    """
    _check(references, what)
    dark, flat, bad = references.dark, references.flat, references.bad.mask
    levels, steps = [], []
    for each in exposures:
        name = f"{what} flat with {each.exposure_ns:g} ns"
        seen = FrameStatistics.of(
            each.bursts,
            name,
            dark.mean,
            saturation=references.saturation_counts,
        )
        signal = seen.mean - dark.mean
        levels.append(LightLevel(signal, seen.variance, seen.degrees))
        steps.append((each.exposure_ns, float(np.median(signal[~bad]))))
    curve = references.photon_transfer(corrected=False, more=levels, what=what)
    dark_counts, level = float(np.median(dark.mean)), references.median_level
    cells = references.cells
    saturation = references.saturation_counts
    if saturation is None and curve.saturation_counts is not None:
        saturation = curve.saturation_counts + dark_counts
    return CameraRadiometry(
        dark_counts=dark_counts,
        flat_counts=level,
        counts_per_photon=curve.counts_per_photon,
        read_noise_counts=curve.read_noise_counts,
        cell_pattern=math.hypot(curve.cell_pattern, cells.pattern_counts / level if cells else 0),
        linearity_error=linearity(steps, what).error if steps else None,
        flicker=flicker_of_flats(dark, flat),
        bad_pixels=references.bad.count,
        saturation_counts=saturation,
    )


def _check(references: CameraReferences, what: str) -> None:
    bad = references.bad
    for mask, why in (
        (bad.saturated, "are at the end of the scale: expose shorter"),
        (bad.mask, "are dead, hot, unstable or saturated: look at the frames"),
    ):
        share = float(mask.mean())
        if share > _MOST_BAD:
            raise CalibrationError(
                f"The {what} references are of no use: {share:.0%} of the pixels {why}, then "
                "record dark and flat again; the data are safe."
            )
    for number, means in enumerate(references.flat.frame_means, start=1):
        dim = np.flatnonzero(means < _LEAST_FRAME * np.nanmedian(means))
        if dim.size:
            raise CalibrationError(
                f"The {what} flat changes its light: in burst {number}, frame {dim[0]} has "
                f"{means[dim[0]] / np.nanmedian(means):.0%} of the usual. The shutter has to be "
                "open before the burst begins and until it ends; record the flat again, the data "
                "are safe."
            )
