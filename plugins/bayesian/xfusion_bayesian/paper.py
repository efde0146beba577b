"""Backend `bayesian-paper`: the Bayesian fusion that published comparisons use as baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from xfusion_bayesian.anchors import Anchors, require_hr
from xfusion_bayesian.frames import attention, masked_frame
from xfusion_bayesian.left_out import variance_factor
from xfusion_bayesian.published import Estimate, Settings, estimate
from xfusion_bayesian.version import __version__
from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.sequence import DualSequence, Neighbours

__all__ = ["BayesianPaper"]


@dataclass(frozen=True)
class BayesianPaper:
    """Cluster LR pixels, predict by Gaussian conditioning, correct by a Kalman update.

    Pixels of the LR series (before, target, after) are clustered; mean and covariance of each
    cluster predict the frame from the HR frames before and after; the LR frame corrects it through
    the block mean, whose gain, offset and noise are fitted to the HR and LR frames taken together.

    Parameters
    ----------
    clusters : int, optional
        Default: 5 % of ``sqrt(h w)``, the published rule.
    iterations : int
        Of K-means, at most.
    shrinkage : float
        Members that the pooled covariance counts for in each cluster.
    hr_noise : float
        Noise variance of HR frames for intensities from 0 to 1; the default is the rounding to 8
        bits.
    calibrate_variance : bool
        Scale the variance so that it explains the error at a few HR frames, each estimated as if it
        were missing.
    seed : int
        Of the first centres.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    J. Xue, Y. Leung, T. Fung, A Bayesian data fusion approach to spatio-temporal fusion of
    remotely sensed images, Remote Sensing 9 (2017) 1310.
    """

    clusters: int | None = None
    iterations: int = 15
    shrinkage: float = 10.0
    hr_noise: float = 1.28e-6
    calibrate_variance: bool = True
    seed: int = 0

    info: ClassVar[BackendInfo] = BackendInfo(
        id="bayesian-paper",
        version=__version__,
        summary="published Bayesian fusion: K-means, Gaussian conditioning, Kalman update",
        needs_hr=True,
        gives_variance=True,
        gives_attention=True,
    )

    def __post_init__(self) -> None:
        if self.clusters is not None and self.clusters < 1:
            raise ValueError(f"clusters must be at least 1, got {self.clusters}")
        if self.iterations < 0 or self.shrinkage < 0 or self.hr_noise < 0:
            raise ValueError(
                f"iterations, shrinkage and hr_noise must not be negative, got "
                f"{self.iterations}, {self.shrinkage}, {self.hr_noise}"
            )

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the estimate of each target; see `Backend.reconstruct`."""
        require_hr(self.info.id, sequence)
        run = _Run(self, sequence)
        return (run.frame(target) for target in targets)


class _Run:
    def __init__(self, backend: BayesianPaper, sequence: DualSequence) -> None:
        self._backend, self._sequence = backend, sequence
        self._anchors = Anchors(sequence)
        self._settings = Settings(
            backend.clusters,
            backend.iterations,
            backend.shrinkage,
            backend.hr_noise,
            backend.seed,
        )

    def frame(self, target: int) -> FusedFrame:
        sequence = self._sequence
        if not sequence.lr_mask(target).any():
            return masked_frame(sequence, target)
        near = sequence.neighbours(target)
        found = self._estimate(target, near)
        return FusedFrame(
            target=target,
            image=found.image,
            variance=found.variance * np.float32(self._factor),
            attention=attention(near, found.shares),
            diagnostics={
                "tau": sequence.tau(target),
                "lr_gain": found.model.gain,
                "lr_offset": found.model.offset,
                "lr_noise_variance": found.model.variance,
                "variance_factor": self._factor,
            },
        )

    @cached_property
    def _factor(self) -> float:
        if not self._backend.calibrate_variance:
            return 1.0
        return variance_factor(self._sequence, self._anchors, self._moments)

    def _estimate(self, target: int, near: Neighbours) -> Estimate:
        anchors, paired = self._anchors.of(near), self._anchors.paired(near)
        return estimate(self._sequence, target, anchors, paired, self._settings)

    def _moments(self, target: int, near: Neighbours) -> tuple[Float32Array, Float32Array]:
        found = self._estimate(target, near)
        return found.image, found.variance
