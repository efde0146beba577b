"""What a burst with some settings will be worth: all checks, and the worst of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from .beam import beam
from .cameras import cameras
from .finding import Check, Severity
from .frames import frames
from .pulses import Pulses
from .timeline import BurstSettings, Timeline, quantised

__all__ = ["Preflight", "examine", "free_bytes", "pulses_of"]


@dataclass(frozen=True, repr=False)
class Preflight:
    """What a burst with some settings will be.

    Parameters
    ----------
    settings : BurstSettings
        As the cameras take them.
    timeline : Timeline
        The frames of both cameras.
    checks : tuple of Check
        What was looked at.
    pulses : Pulses or None
        Of the ring, where known.
    decay_ns : float
        Of the scintillator.
    """

    settings: BurstSettings
    timeline: Timeline
    checks: tuple[Check, ...]
    pulses: Pulses | None
    decay_ns: float

    @property
    def verdict(self) -> Severity:
        """The worst of the checks."""
        found = {check.severity for check in self.checks}
        return next(each for each in reversed(Severity) if each in found or each is Severity.OK)

    def __getitem__(self, subject: str) -> Check:
        """Return the check of a subject."""
        return next(check for check in self.checks if check.subject == subject)

    def lines(self) -> list[str]:
        """Return the checks as text, and the verdict last."""
        lines = []
        for check in self.checks:
            lines.append(f"{check.severity:<5}{check.subject}: {check.found}")
            lines += [f"       why: {check.why}"] if check.why else []
            lines += [f"       nearest that works: {check.nearest}"] if check.nearest else []
        return [*lines, f"verdict: {self.verdict}"]

    def __repr__(self) -> str:
        """Show the checks: this is what a prompt prints."""
        return "\n".join(self.lines())


def examine(
    settings: BurstSettings,
    *,
    pulses: Pulses | None = None,
    decay_ns: float = 0.0,
    bursts: int = 1,
    free_bytes: float | None = None,
) -> Preflight:
    """Look at settings; needs no device.

    Parameters
    ----------
    settings : BurstSettings
        Of both cameras and their delays.
    pulses : Pulses, optional
        Pattern of the ring.
    decay_ns : float
        Of the scintillator; 0: no afterglow.
    bursts : int
        That the next run is to take.
    free_bytes : float, optional
        Free on the disk for the bursts.

    Raises
    ------
    ValueError
        A time or a count is not positive, or the range of HR frames is empty.
    """
    _check(settings, bursts)
    taken = replace(settings, shimadzu=quantised(settings.shimadzu))
    timeline = Timeline.of(taken)
    checks = (
        *frames(taken, timeline),
        *beam(taken, timeline, pulses, decay_ns),
        *cameras(settings.shimadzu, taken, bursts, free_bytes),
    )
    return Preflight(taken, timeline, checks, pulses, decay_ns)


def pulses_of(
    period_ns: float | None, width_ns: float = 0.1, offset_ns: float | None = None
) -> Pulses | None:
    """Return a pulse pattern, None without a period (or with 0)."""
    return Pulses(period_ns, width_ns, offset_ns) if period_ns else None


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder that may not be there yet, in bytes."""
    present = next(part for part in (folder, *folder.parents) if part.exists())
    return shutil.disk_usage(present).free


def _check(settings: BurstSettings, bursts: int) -> None:
    lr, hr = settings.shimadzu, settings.phantom
    for name, number in {
        "The Shimadzu interval": lr.interval_ns,
        "The Shimadzu exposure": lr.exposure_ns,
        "The number of Shimadzu frames": lr.frames,
        "The playback rate": lr.playback_hz,
        "The Phantom period": hr.period_ns,
        "The Phantom exposure": hr.exposure_ns,
        "The height of the Phantom region": hr.rows,
        "The speed of the download": hr.link_bytes_per_s,
        "The number of bursts": bursts,
    }.items():
        if not 0 < number < float("inf"):
            raise ValueError(f"{name} is {number:g}; it must be above zero. Nothing was armed.")
    if hr.last < hr.first:
        raise ValueError(
            f"The HR range {hr.first} to {hr.last} is empty; hr_last must not be less. Nothing was "
            "armed."
        )
