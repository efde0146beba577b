"""The result of fitting the offset of two clocks, with what a picture of the fit needs."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.record import TemporalCalibration
from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = ["TimeFit"]

_CALIBRATION = "calibration"


@dataclass(frozen=True, eq=False)
class TimeFit:
    """Offset and drift between the clocks of the cameras, and the evidence for them.

    Parameters
    ----------
    calibration : TemporalCalibration
        The result: LR time + offset = time on the HR camera's clock.
    trial_offsets_ns, cost : (n,) float64
        Share of the HR variation that stays unexplained at each offset tried, in [0, 1].
    hr_time_ns : (m,) float64
        HR frames of all bursts that entered, ns after T0 of their burst.
    hr_trace, fitted_trace : (m,) float64
        What the HR camera saw, and what LR frames predict at the best offset: variation about
        the mean of the burst, along its strongest pattern where whole images were fitted.
    """

    calibration: TemporalCalibration
    trial_offsets_ns: Float64Array
    cost: Float64Array
    hr_time_ns: Float64Array
    hr_trace: Float64Array
    fitted_trace: Float64Array

    def save(self, path: Path) -> None:
        """Write the fit to a `.npz` file, in the place of an older one."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        arrays[_CALIBRATION] = np.array(self.calibration.model_dump_json())
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> TimeFit:
        """Read a fit that `save` wrote.

        Raises
        ------
        CalibrationError
            The file is missing or is none of these.
        """
        try:
            # A path would stay open where the file is damaged.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {
                    each.name: np.asarray(file[each.name], dtype=np.float64)
                    for each in fields(cls)[1:]
                }
                calibration = TemporalCalibration.model_validate_json(str(file[_CALIBRATION]))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CalibrationError(
                f"{path} holds no fit of the clocks: {error}. Only the picture of the fit needs "
                "it; the calibration record is a file of its own and is not touched."
            ) from error
        return cls(calibration, **arrays)
