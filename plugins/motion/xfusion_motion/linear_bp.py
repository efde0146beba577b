"""Backend `linear-bp`: interpolation, then back-projection of what the LR frame says is missing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.fusion.noise import NoiseModel
from xfusion_bluesky.fusion.operators import block_mean, upsample_cubic
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.interval import Image, between, require_hr
from xfusion_motion.version import __version__

__all__ = ["LinearBackProjection", "wiener_gain"]

_WINDOW_PX = 5
_TINY = np.float32(1e-20)


@dataclass(frozen=True)
class LinearBackProjection:
    """``x = x_l + U3(kappa e)`` with the residual ``e = y - H x_l`` and a local Wiener gain.

    One pass of cubic spreading leaves ``(I - H U3) e`` of the residual, a few per cent for smooth
    motion; it is not iterated, because more passes copy more noise.
    """

    info: ClassVar[BackendInfo] = BackendInfo(
        id="linear-bp",
        version=__version__,
        summary="linear interpolation corrected by the LR frame, with a local Wiener gain",
        needs_hr=True,
        gives_attention=True,
    )

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the corrected frame of each target; see `Backend.reconstruct`."""
        require_hr(self.info.id, sequence)
        binned = _BinnedHR(sequence)
        return (_corrected(sequence, binned, target) for target in targets)


def wiener_gain(residual: Image, y: Image, noise: NoiseModel) -> Image:
    """Share of the residual that is real change: 1 where it is, 0 where it is LR noise.

    ``kappa = max(<e^2> - r, 0) / <e^2>`` with ``<.>`` the mean over 5 x 5 LR pixels.

    Parameters
    ----------
    residual : (h, w) float32
        ``e = y - H x_l``.
    y : (h, w) float32
        LR frame, in the units of `noise`.
    noise : NoiseModel
        Gives r; without noise the gain is exactly 1.

    Returns
    -------
    (h, w) float32
        In [0, 1].
    """
    if noise.is_noise_free:
        return np.ones_like(residual)
    power: Image = ndimage.uniform_filter(np.square(residual), size=_WINDOW_PX, mode="nearest")
    gain: Image = np.maximum(power - noise.variance(y), 0) / np.maximum(power, _TINY)
    return gain


class _BinnedHR:
    """H x of the last two HR frames, which all targets of an interval share."""

    def __init__(self, sequence: DualSequence) -> None:
        self._sequence = sequence
        self._kept: OrderedDict[int, Image] = OrderedDict()

    def get(self, j: int) -> Image:
        if j not in self._kept:
            self._kept[j] = block_mean(self._sequence.hr(j))
            if len(self._kept) > 2:
                self._kept.popitem(last=False)
        return self._kept[j]


def _corrected(sequence: DualSequence, binned: _BinnedHR, target: int) -> FusedFrame:
    near, tau = sequence.neighbours(target), sequence.tau(target)
    mask = sequence.lr_mask(target)
    if not mask.any():
        nothing = np.full(sequence.shape, np.nan, dtype=np.float32)
        return FusedFrame(target, nothing, diagnostics={"tau": tau, "masked": 1.0})
    before = None if near.before is None else binned.get(near.before)
    after = None if near.after is None else binned.get(near.after)
    y = sequence.lr(target)
    # A masked LR pixel says nothing: the interpolation stands there uncorrected.
    residual = np.where(mask, y - between(before, after, tau), np.float32(0))
    gain = wiener_gain(residual, y, sequence.noise)
    image = upsample_cubic(gain * residual)
    image += between(
        None if near.before is None else sequence.hr(near.before),
        None if near.after is None else sequence.hr(near.after),
        tau,
    )
    return FusedFrame(
        target=target,
        image=image,
        attention=(1 - tau, tau, 0.0),
        diagnostics={
            "tau": tau,
            "residual_rms": float(np.sqrt(np.square(residual).mean(where=mask, dtype=np.float64))),
            "gain_mean": float(gain.mean(where=mask, dtype=np.float64)),
        },
    )
