"""Backend `bayesian-strong`: Bayesian fusion of motion-compensated HR frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from xfusion_bayesian.anchors import Anchors, require_hr
from xfusion_bayesian.frames import attention, masked_frame
from xfusion_bayesian.left_out import variance_factor
from xfusion_bayesian.posterior import posterior
from xfusion_bayesian.stretch import Stretch, stretch_of
from xfusion_bayesian.version import __version__
from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.sequence import DualSequence, Neighbours

__all__ = ["BayesianStrong"]

_KEPT = 2


@dataclass(frozen=True)
class BayesianStrong:
    """Estimate block means and detail apart, each from the frames that tell most about it.

    The HR frames before and after are carried to the target, at rest or along the motion. Where
    they agree with the LR frame they give the detail; where they do not, the upsampled LR frame
    stands. Of the LR frame only what exceeds its noise corrects the block means. All variances are
    learned from the sequence: from the HR and LR frames taken together, and from each HR frame
    carried to the time of the other.

    Parameters
    ----------
    consistency_passes : int
        Times that the image is brought closer to the estimated block means; each pass leaves a few
        per cent of the difference.
    calibrate_variance : bool
        Scale the variance so that it explains the error at a few HR frames, each estimated as if it
        were missing.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    consistency_passes: int = 1
    calibrate_variance: bool = True

    info: ClassVar[BackendInfo] = BackendInfo(
        id="bayesian-strong",
        version=__version__,
        summary="Bayesian fusion of motion-compensated HR frames; falls back to the LR frame",
        needs_hr=True,
        gives_variance=True,
        gives_attention=True,
    )

    def __post_init__(self) -> None:
        if self.consistency_passes < 0:
            raise ValueError(
                f"consistency_passes must not be negative, got {self.consistency_passes}"
            )

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the estimate of each target; see `Backend.reconstruct`."""
        require_hr(self.info.id, sequence)
        run = _Run(self, sequence)
        return (run.frame(target) for target in targets)


class _Run:
    def __init__(self, backend: BayesianStrong, sequence: DualSequence) -> None:
        self._backend, self._sequence = backend, sequence
        self._anchors = Anchors(sequence)
        self._kept: OrderedDict[Neighbours, Stretch] = OrderedDict()

    def frame(self, target: int) -> FusedFrame:
        sequence = self._sequence
        if not sequence.lr_mask(target).any():
            return masked_frame(sequence, target)
        near = sequence.neighbours(target)
        stretch = self._stretch(near)
        found = posterior(sequence, stretch, target, self._backend.consistency_passes)
        return FusedFrame(
            target=target,
            image=found.image,
            variance=found.variance * np.float32(self._factor),
            attention=attention(near, found.shares),
            diagnostics={
                "tau": sequence.tau(target),
                "lr_gain": stretch.camera.model.gain,
                "lr_offset": stretch.camera.model.offset,
                "lr_noise_variance": found.lr_noise,
                "hr_noise_variance": stretch.law.hr_noise,
                "variance_factor": self._factor,
            },
        )

    @cached_property
    def _factor(self) -> float:
        if not self._backend.calibrate_variance:
            return 1.0
        return variance_factor(self._sequence, self._anchors, self._moments)

    def _stretch(self, near: Neighbours) -> Stretch:
        if near not in self._kept:
            self._kept[near] = stretch_of(self._sequence, self._anchors, near)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return self._kept[near]

    def _moments(self, target: int, near: Neighbours) -> tuple[Float32Array, Float32Array]:
        stretch = stretch_of(self._sequence, self._anchors, near)
        found = posterior(self._sequence, stretch, target, self._backend.consistency_passes)
        return found.image, found.variance
