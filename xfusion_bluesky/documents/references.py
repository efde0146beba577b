"""Dark and flat references of a camera from the burst files of their runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import h5py
import numpy as np
import numpy.typing as npt

from xfusion_bluesky.calibration.camera_references import CameraReferences
from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.documents.raw import CameraBurst

__all__ = ["ReferenceFrames", "burst_frames", "counts"]


@dataclass(frozen=True, eq=False)
class ReferenceFrames(CameraReferences):
    """Dark and flat of one camera, from files."""

    @classmethod
    def of(
        cls,
        dark: Sequence[CameraBurst],
        flat: Sequence[CameraBurst],
        *,
        skip: int = 0,
        cells: bool = False,
        saturation_counts: float | None = None,
    ) -> Self:
        """Read every burst of both references, one frame in memory.

        Parameters
        ----------
        dark, flat : sequence of CameraBurst
            Bursts without beam, and with beam but without sample.
        skip : int
            Leading frames of a burst left out when there are more than that.
        cells : bool
            Whether to correct each storage cell: frame k of every burst comes from cell k.
        saturation_counts : float, optional
            Counts from which on a pixel is not believed; by default each frame tells.

        Raises
        ------
        CalibrationError
            A file is missing, damaged or without a valid frame, the frames have different shapes,
            or the flat has no light.
        """
        _check_shapes([*dark, *flat], cells)
        return cls.from_frames(
            (burst_frames(each, skip) for each in dark),
            (burst_frames(each, skip) for each in flat),
            cells=cells,
            saturation_counts=saturation_counts,
            what=_names([*dark[:1], *flat[:1]]),
        )


def burst_frames(burst: CameraBurst, skip: int = 0) -> Iterator[npt.NDArray[np.uint16] | None]:
    """Yield the counts of every frame of a burst; None for one that is invalid or skipped.

    Parameters
    ----------
    burst : CameraBurst
        Its file is open while frames are taken from the iterator.
    skip : int
        Leading valid frames left out when there are more than that.

    Raises
    ------
    CalibrationError
        The file is missing or damaged, or no frame is valid.
    """
    valid = [k for k, is_valid in enumerate(burst.valid) if is_valid]
    chosen = frozenset(valid[skip:] or valid)
    if not chosen:
        raise CalibrationError(
            f"The reference {burst.file} has no valid frame: record it again, or reconstruct "
            "without it; the burst files are safe."
        )
    try:
        with h5py.File(burst.file, "r", locking=False) as file:
            frames = file[burst.dataset]
            if frames.shape != tuple(burst.shape):
                raise CalibrationError(
                    f"The reference {burst.file} holds frames of shape {frames.shape}, its run "
                    f"says {tuple(burst.shape)}: another file stands in its place. Bring the right "
                    "one back, or record the reference again; nothing was changed."
                )
            for k in range(len(frames)):
                yield counts(frames[k], burst.bit_shift) if k in chosen else None
    except (OSError, KeyError) as error:
        why = " ".join(str(error).split())
        raise CalibrationError(
            f"The reference {burst.file} cannot be read: {why}. Bring the file back, or record the "
            "reference again; nothing was changed."
        ) from error


def counts(frame: npt.NDArray[np.uint16], bit_shift: int) -> npt.NDArray[np.uint16]:
    """Return pixels moved down to where their values begin."""
    return frame >> np.uint16(bit_shift) if bit_shift else frame


def _check_shapes(bursts: Sequence[CameraBurst], cells: bool) -> None:
    if not bursts:
        return
    first, begin = bursts[0], 0 if cells else 1
    for burst in bursts[1:]:
        if burst.shape[begin:] != first.shape[begin:]:
            raise CalibrationError(
                f"References of different shape: {first.file} has frames, rows, columns "
                f"{first.shape}, {burst.file} has {burst.shape}. Record dark and flat with one "
                "readout region; the data are safe."
            )


def _names(bursts: Sequence[CameraBurst]) -> str:
    return " / ".join(str(burst.file) for burst in bursts)
