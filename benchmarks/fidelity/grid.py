"""What is computed: the cells of the grid, and which frames of a video are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ENDS = "ends"
CLEAN = "clean"
PHOTONS = "b0="

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

DISTANCES = ("2", "10", "20", ENDS)
SEPARATIONS = (1, 2, 3)
LR_PSNR = ("20", "30", "40", "50", "60", CLEAN)


@dataclass(frozen=True)
class Conditions:
    """One virtual experiment.

    Parameters
    ----------
    distance : str
        Frames from one HR frame to the next, or "ends".
    separation : int
        Frames from one LR frame to the next.
    lr_psnr : str
        PSNR of the LR frames in dB, "clean", or photons of an open-beam LR pixel as "b0=1000".
    """

    distance: str
    separation: int
    lr_psnr: str

    @property
    def hr_interval(self) -> int | None:
        """Distance as a number; None for the ends."""
        return None if self.distance == ENDS else int(self.distance)

    @property
    def lr_psnr_db(self) -> float | None:
        """PSNR as a number; None without noise, or where it is given in photons."""
        return float(self.lr_psnr) if _is_number(self.lr_psnr) else None

    @property
    def blank_photons(self) -> float | None:
        """Photons, where the noise is given so."""
        return float(self.lr_psnr[len(PHOTONS) :]) if self.lr_psnr.startswith(PHOTONS) else None

    @property
    def label(self) -> str:
        """For people."""
        noise = f"{self.lr_psnr} dB" if _is_number(self.lr_psnr) else self.lr_psnr
        return f"D = {self.distance}, separation {self.separation}, {noise}"


def distance_order(distance: str) -> float:
    """Sort key of HR distances."""
    return math.inf if distance == ENDS else int(distance)


def noise_order(noise: str) -> tuple[int, float]:
    """Sort key of LR noise: PSNR, then photons, then none."""
    if noise == CLEAN:
        return 2, 0.0
    if noise.startswith(PHOTONS):
        return 1, float(noise[len(PHOTONS) :])
    return 0, float(noise)


def conditions(
    distances: Sequence[str], separations: Sequence[int], lr_psnr: Sequence[str], frames: int
) -> Iterator[Conditions]:
    """Yield every combination that a video of so many frames can show."""
    for distance in distances:
        if distance != ENDS and int(distance) > frames - 1:
            continue
        for separation in separations:
            for noise in lr_psnr:
                yield Conditions(distance, separation, noise)


def chosen_frames(frames: int, every: int) -> list[int]:
    """Return the frames to be scored: a share of ``1 / every`` of them, in pairs.

    Neighbours come in pairs so that flicker can be measured. One pair lies in each stretch of
    ``2 every`` frames, at a place that moves by the golden ratio: at even steps, every target
    would have the same distance from its HR frames. The first and the last frame are HR frames in
    every experiment and left out.
    """
    if every == 1:
        return list(range(1, frames - 1))
    stretch = 2 * every
    chosen = []
    for number, begin in enumerate(range(1, frames - 1, stretch)):
        place = begin + int((number + 0.5) * _GOLDEN_RATIO % 1 * (stretch - 1))
        chosen += [k for k in (place, place + 1) if k < frames - 1]
    return chosen


def _is_number(noise: str) -> bool:
    return noise != CLEAN and not noise.startswith(PHOTONS)
