"""Find the mesh in an image, and all its nodes, to a small part of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.lattice_growth import (
    FEWEST_NODES,
    GrownLattice,
    frequency,
    grow_lattice,
)
from xfusion_bluesky.calibration.lattice_peaks import flattened, reciprocal_vectors
from xfusion_bluesky.fusion.arrays import BoolArray, Float32Array, Float64Array

__all__ = ["Lattice", "find_lattice"]

_SMALLEST_SIDE_PX = 16
_LEAST_PITCH_PX = 3.0
_LEAST_MODULATION = 0.012
_BINNED_PITCH_PX = 12.0
"""Finer sampling of a cell costs time and tells nothing more about its node."""

_LEAST_SHARE = 0.5
"""Of the nodes in the bright part of the frame that must agree with one lattice."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Nodes of a mesh in one image; a node is the middle of a hole.

    Parameters
    ----------
    basis_px : (2, 2) float64
        Columns: the step in (row, column) from a node to the next along either index, at the
        middle of the frame.
    origin_px : (2,) float64
        (row, column) of index (0, 0), near the middle of the frame.
    index : (n, 2) int
        Integer coordinates of the nodes.
    position_px : (n, 2) float64
        (row, column) of the nodes.
    sigma_px : (n,) float64
        Standard error of a position along one axis. Errors of nodes closer than two cells are
        correlated, since their windows overlap.
    modulation : float
        Median amplitude of the mesh over the local mean.
    share : float
        Nodes found over nodes expected in the bright part of the frame.
    """

    basis_px: Float64Array
    origin_px: Float64Array
    index: npt.NDArray[np.int64]
    position_px: Float64Array
    sigma_px: Float64Array
    modulation: float
    share: float

    @property
    def pitch_px(self) -> float:
        """Side of a cell, px."""
        return float(np.sqrt(abs(np.linalg.det(self.basis_px))))


def find_lattice(
    image: Float32Array, *, pitch_hint_px: float | None = None, name: str = "the image"
) -> Lattice:
    """Find all nodes of a square mesh by the phase of its fundamentals around each of them.

    Parameters
    ----------
    image : (h, w) float32
        Transmission; NaN = masked. Any rotation, from 4 cells a side and 4 px a cell on.
    pitch_hint_px : float, optional
        Expected pitch; the mesh must be within a third of it.
    name : str
        What the image is, for messages: "LR camera, view 2".

    Raises
    ------
    CalibrationError
        The image shows no mesh, or none that is good enough; the message says which.
    """
    _check(image, name)
    height, width = image.shape
    modulation, usable = flattened(image, (height / 8, width / 8))
    if usable.mean() < 0.15:
        raise CalibrationError(
            f"No calibration from {name}: only {usable.mean():.0%} of it is lit and not masked. "
            "Open the slits and the shutter, look at the beam profile and at the mask of bad "
            "pixels, and take it again; nothing was changed."
        )
    vectors = reciprocal_vectors(modulation, pitch_hint_px)
    if vectors is None:
        raise CalibrationError(_no_mesh(name, modulation, usable, pitch_hint_px))
    pitch = 1 / frequency(vectors)
    if pitch < _LEAST_PITCH_PX:
        raise CalibrationError(
            f"No calibration from {name}: its strongest pattern repeats every {pitch:.1f} pixels, "
            f"below the {_LEAST_PITCH_PX:.0f} that a mesh needs. Use a coarser mesh or a larger "
            "magnification; nothing was changed."
        )
    prepared, lit, factor = _prepared(image, pitch)
    lattice = _assembled(grow_lattice(prepared, lit, vectors * factor), factor, name)
    if lattice.modulation < _LEAST_MODULATION:
        raise CalibrationError(
            f"No calibration from {name}: the mesh changes the intensity by only "
            f"{lattice.modulation:.1%}, at least {_LEAST_MODULATION:.1%} are needed. The camera "
            "is out of focus, or the mesh too thin for this energy; focus on the scintillator "
            "and take it again. Nothing was changed."
        )
    return lattice


def _check(image: Float32Array, name: str) -> None:
    if image.ndim != 2 or min(image.shape) < _SMALLEST_SIDE_PX:
        raise CalibrationError(
            f"No calibration from {name}: it has the shape {image.shape}; an image of at least "
            f"{_SMALLEST_SIDE_PX} x {_SMALLEST_SIDE_PX} pixels is needed. Take a larger readout "
            "region; nothing was changed."
        )
    finite = image[np.isfinite(image)]
    if finite.size == 0:
        raise CalibrationError(
            f"No calibration from {name}: every pixel is masked or not a number. Look at the dark "
            "and flat frames it was corrected with; nothing was changed."
        )
    if finite.max() == finite.min():
        raise CalibrationError(
            f"No calibration from {name}: all pixels have the value {finite.max():g}. The camera "
            "did not see the beam, or its frames were lost; take it again. Nothing was changed."
        )


def _no_mesh(
    name: str, modulation: Float32Array, usable: BoolArray, pitch_hint_px: float | None
) -> str:
    if pitch_hint_px is not None:
        other = reciprocal_vectors(modulation)
        if other is not None:
            return (
                f"No calibration from {name}: the mesh there repeats every "
                f"{1 / frequency(other):.2f} pixels, {pitch_hint_px:.2f} were expected. Look "
                "at the pitch of the mesh and the magnification in the configuration; nothing was "
                "changed."
            )
    return (
        f"No calibration from {name}: no mesh is in view. Its spectrum has no two peaks that "
        f"belong to a square pattern (rms modulation {float(modulation[usable].std()):.1%}). Move "
        "the mesh into the beam, focus the camera, average more frames, and take it again; nothing "
        "was changed."
    )


def _prepared(image: Float32Array, pitch: float) -> tuple[Float32Array, BoolArray, int]:
    """Flatten again with what is now known of the pitch, after binning down to a dozen pixels."""
    factor = max(1, int(pitch / _BINNED_PITCH_PX))
    if factor > 1:
        rows, columns = (side // factor for side in image.shape)
        blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        usable = np.isfinite(blocks)
        count = usable.sum(axis=(1, 3))
        total = np.where(usable, blocks, 0).sum(axis=(1, 3), dtype=np.float32)
        # A block without all its pixels has its weight elsewhere than at its middle.
        image = np.where(count == factor**2, total / factor**2, np.nan).astype(np.float32)
    sigma = 1.5 * pitch / factor
    return *flattened(image, (sigma, sigma)), factor


def _assembled(grown: GrownLattice, factor: int, name: str) -> Lattice:
    """Bring the nodes back to the pixels of the camera, if there are enough of them."""
    found, expected = int(grown.good.sum()), int(grown.expected.sum())
    share = found / max(1, expected)
    spans = np.ptp(grown.index[grown.good], axis=0) if found else np.zeros(2)
    if found < FEWEST_NODES or share < _LEAST_SHARE or min(spans) < 2:
        pitch = factor / frequency(linalg.inv(grown.smooth.slope()))
        raise CalibrationError(
            f"No calibration from {name}: something repeats every {pitch:.1f} pixels, but only "
            f"{found} of {expected} expected nodes agree with one mesh (at least {FEWEST_NODES} "
            f"and {_LEAST_SHARE:.0%} are needed). No mesh is in view, or it is torn, out of focus "
            "or too noisy: look at the image, average more frames, and take it again; nothing was "
            "changed."
        )
    shift = (factor - 1) / 2  # of the middle of a binned pixel
    return Lattice(
        basis_px=grown.smooth.slope() * factor,
        origin_px=grown.smooth.at(np.zeros((1, 2)))[0] * factor + shift,
        index=grown.index[grown.good],
        position_px=grown.fits.position_px[grown.good] * factor + shift,
        sigma_px=grown.fits.sigma_px[grown.good] * factor,
        modulation=float(np.median(grown.fits.modulation[grown.good])),
        share=share,
    )
