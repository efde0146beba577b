"""How far to trust a fused image when there is no truth, for every backend alike.

One object a burst, one call a frame:

    quality = SequenceQuality(sequence)
    quality.flags                          # what looks wrong about the burst
    quality.frame(target, image).scalars() # numbers to store with the frame

What a backend is worth on a burst is told by `holdout.scores`, error bars by
`conformal.ConformalInterval`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.consistency import Consistency, detail_energy
from xfusion_bluesky.fusion.flags import Flag, Limits, Severity
from xfusion_bluesky.fusion.screening import Screening, screen
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["FrameQuality", "SequenceQuality"]

_NOISE_ABOVE_2 = 0.157
"""Share of a chi-squared variable of one degree of freedom above 2."""

_COPIES_NOISE = 0.5


@dataclass(frozen=True)
class FrameQuality:
    """One fused image, judged by the data it was made from.

    Parameters
    ----------
    consistency : Consistency
        How well it explains its LR frame.
    detail : float
        Energy of its detail that LR cannot see, over that of the HR frames around it. Below 0.5
        detail was lost, above 1.5 invented. NaN without HR neighbours.
    flags : tuple of Flag
        What looks wrong.
    """

    consistency: Consistency
    detail: float
    flags: tuple[Flag, ...]

    def scalars(self) -> dict[str, float]:
        """Return the numbers by name, to be stored with the frame; NaN where not known."""
        return {
            "chi2": self.consistency.chi2,
            "chi2_high": self.consistency.chi2_high,
            "contradicted": self.consistency.contradicted,
            "residual_rms": self.consistency.residual_rms,
            "detail": self.detail,
        }


class SequenceQuality:
    """Judge of all images of one burst.

    Parameters
    ----------
    sequence : DualSequence
        The burst; nothing is read before it is needed.
    limits : Limits, optional
        Where findings begin to matter.
    screening : Screening, optional
        Of the same burst, where it is known already.
    """

    def __init__(
        self,
        sequence: DualSequence,
        limits: Limits | None = None,
        screening: Screening | None = None,
    ) -> None:
        self._sequence = sequence
        self._limits = limits or Limits()
        self._known = screening
        self._detail: dict[int, float] = {}

    @cached_property
    def screening(self) -> Screening:
        """What the burst is like; reads every LR frame once."""
        return self._known or screen(self._sequence, self._limits)

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What looks wrong about the burst."""
        return self.screening.flags

    def frame(self, target: int, image: Float32Array) -> FrameQuality:
        """Judge one image.

        Parameters
        ----------
        target : int
            LR frame it belongs to.
        image : (H, W) float32
            The fused image; all NaN when the backend had no answer.

        Returns
        -------
        FrameQuality
            NaN and a flag where nothing can be said.

        Raises
        ------
        ValueError
            If the image is not on the fused grid of the burst.
        """
        if image.shape != self._sequence.shape:
            raise ValueError(
                f"the image of LR frame {target} has shape {image.shape}, but the fused grid of "
                f"this burst is {self._sequence.shape}: it belongs to another burst or "
                f"calibration; nothing was changed"
            )
        mask = self._sequence.lr_mask(target)
        consistency = Consistency.of(image, self._sequence.lr(target), self.screening.noise, mask)
        detail = self._detail_ratio(target, image)
        flags = tuple(self._flags(target, image, consistency, detail))
        return FrameQuality(consistency, detail, flags)

    def _detail_ratio(self, target: int, image: Float32Array) -> float:
        near = self._sequence.neighbours(target)
        around = [j for j in (near.before, near.after) if j is not None]
        if not around:
            return math.nan
        tau = self._sequence.tau(target) if len(around) == 2 else 0.0
        first, last = self._detail_of(around[0]), self._detail_of(around[-1])
        usual = (1 - tau) * first + tau * last
        return detail_energy(image) / usual if usual > 0 else math.nan

    def _detail_of(self, j: int) -> float:
        if j not in self._detail:
            self._detail[j] = detail_energy(self._sequence.hr(j))
        return self._detail[j]

    def _flags(
        self, target: int, image: Float32Array, consistency: Consistency, detail: float
    ) -> Iterator[Flag]:
        missing = 1 - float(np.isfinite(image).mean())
        if missing == 1:
            yield Flag(
                "no-image",
                1.0,
                0.0,
                Severity.WARNING,
                f"LR frame {target} has no fused image: it is masked, or nothing explains it",
            )
            return
        if missing > 0:
            reason = f"{missing:.2%} of the pixels of fused frame {target} have no value"
            yield Flag("missing-pixels", missing, 0.0, Severity.NOTICE, reason)
        limit = _NOISE_ABOVE_2 + self._limits.contradicted_share
        if consistency.contradicted > limit and consistency.chi2 > 2:
            yield Flag(
                "contradicts-lr",
                consistency.contradicted,
                limit,
                Severity.WARNING,
                f"fused frame {target} does not explain its LR frame: mean chi-squared "
                f"{consistency.chi2:.3g}, about 1 is expected",
            )
        if consistency.chi2 < _COPIES_NOISE and not self._sequence.noise.is_noise_free:
            yield Flag(
                "noise-copied",
                consistency.chi2,
                _COPIES_NOISE,
                Severity.NOTICE,
                f"fused frame {target} follows the noise of its LR frame: mean chi-squared "
                f"{consistency.chi2:.2g}, about 1 is expected",
            )
        lowest, highest = self._limits.detail
        if detail < lowest:
            reason = f"fused frame {target} has {detail:.0%} of the detail of its HR neighbours"
            yield Flag("detail-lost", detail, lowest, Severity.NOTICE, reason)
        if detail > highest:
            reason = f"fused frame {target} has {detail:.0%} of the detail of its HR neighbours"
            yield Flag("detail-invented", detail, highest, Severity.WARNING, reason)
