"""What a burst is corrected with: dark, flat, and the calibration of the pair of cameras."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from xfusion_bluesky.calibration.record import CalibrationRecord, RadiometricCalibration
from xfusion_bluesky.documents.raw import Burst
from xfusion_bluesky.fusion.flags import Flag, Severity

__all__ = ["Corrections"]


@dataclass(frozen=True)
class Corrections:
    """What a burst is corrected with. Pydantic turns it into JSON.

    Parameters
    ----------
    dark, flat : tuple of Burst
        Every burst of the two reference runs; unless both are there, frames stay counts.
    calibration_uid : str or None
        Run that made `calibration`.
    calibration : CalibrationRecord or None
        Map and clocks of the two cameras; None leaves them nominal.
    """

    dark: tuple[Burst, ...] = ()
    flat: tuple[Burst, ...] = ()
    calibration_uid: str | None = None
    calibration: CalibrationRecord | None = None

    def __post_init__(self) -> None:
        if (self.calibration is None) != (self.calibration_uid is None):
            raise ValueError("a calibration and its uid come together")

    @property
    def gives_transmission(self) -> bool:
        """Whether frames become transmission."""
        return bool(self.dark and self.flat)

    @property
    def radiometric(self) -> RadiometricCalibration | None:
        """Brightness of the cameras, where it was calibrated."""
        return None if self.calibration is None else self.calibration.radiometric

    @property
    def uids(self) -> dict[str, str | None]:
        """Uids of the runs that are used, by the key under which a run names them."""
        return {
            "calibration_uid": self.calibration_uid,
            "dark_uid": self.dark[0].raw_uid if self.dark else None,
            "flat_uid": self.flat[0].raw_uid if self.flat else None,
        }

    def flags(self, burst: Burst) -> tuple[Flag, ...]:
        """Return what looks wrong about the way a burst is corrected.

        Parameters
        ----------
        burst : Burst
            What is reconstructed.
        """
        named = burst.start.get("calibration_uid")
        if self.calibration is None:
            if not named:
                return ()
            reason = (
                f"the run names calibration {named}, which was not found: the nominal map was used"
            )
            return (Flag("calibration-missing", 1.0, 0.0, Severity.ALARM, reason),)
        record = self.calibration
        taken_s = burst.start.get("time")
        if taken_s is None:
            return ()
        age_hours = record.age_hours(datetime.fromtimestamp(float(taken_s), UTC))
        if abs(age_hours) <= record.valid_hours:
            return ()
        when = "before" if age_hours > 0 else "after"
        reason = (
            f"calibration {self.calibration_uid} was made {abs(age_hours):.1f} h {when} the burst; "
            f"it is meant for {record.valid_hours:g} h"
        )
        old = Flag("old-calibration", age_hours, record.valid_hours, Severity.WARNING, reason)
        return (old,)
