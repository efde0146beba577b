"""Backend `experts`: what HR frames offer, at rest and moved, weighed by the LR frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.blending import blend
from xfusion_motion.candidates import candidates
from xfusion_motion.interval import require_hr
from xfusion_motion.resampling import upsample_cubic, upsample_linear
from xfusion_motion.scene import Scene, masked_frame
from xfusion_motion.version import __version__

__all__ = ["Experts"]


@dataclass(frozen=True)
class Experts:
    """``x = U3 y~ + sum_k w_k (c_k - U3 H c_k)``: LR frame without noise, and detail of experts.

    Each expert c_k is what an HR frame makes of the target under one assumption: it rests, it
    moves as the LR frames show, it moves steadily. Weights follow from how well ``H c_k`` agrees
    with the LR frame; where none does, their detail is dropped and the bicubic image remains.
    An LR frame taken at the very time of a complete HR frame becomes that HR frame.

    Parameters
    ----------
    further_hr : int
        HR frames beside the two neighbours that are offered as resting; they lower HR noise.

    Raises
    ------
    ValueError
        If `further_hr` is negative.
    """

    further_hr: int = 4

    info: ClassVar[BackendInfo] = BackendInfo(
        id="experts",
        version=__version__,
        summary="HR frames at rest and moved, weighed by denoised LR frames; the best untrained",
        needs_hr=True,
        lr_context=14,
        gives_variance=True,
        gives_attention=True,
    )

    def __post_init__(self) -> None:
        if self.further_hr < 0:
            raise ValueError(f"further_hr must be 0 or more, got {self.further_hr!r}")

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the fused frame of each target; see `Backend.reconstruct`."""
        require_hr(self.info.id, sequence)
        return self._frames(sequence, targets)

    def _frames(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        scene = Scene.of(sequence)
        for target in targets:
            yield self._frame(scene, target)

    def _frame(self, scene: Scene, target: int) -> FusedFrame:
        sequence, frames = scene.sequence, scene.frames
        if not sequence.lr_mask(target).any():
            return masked_frame(sequence, target)
        tau = sequence.tau(target)
        taken = frames.coincident(target)
        if taken is not None and frames.get(taken).usable is None:
            frame = frames.get(taken)
            variance = upsample_linear(frames.noise.variance(frame.binned))
            return FusedFrame(
                target, frame.image, variance, (1.0, 0.0, 0.0), {"tau": tau, "lr_noise_rms": 0.0}
            )
        y = scene.video.estimate(target)
        found = blend(
            candidates(scene, target, y.image, self.further_hr),
            y,
            frames.noise.variance(y.image),
            frames.tiny,
        )
        image = upsample_cubic(found.image)
        image += found.detail
        variance = upsample_linear(found.variance)
        removed = np.where(sequence.lr_mask(target), sequence.lr(target) - found.image, 0)
        diagnostics = {
            "tau": tau,
            "lr_noise_rms": float(np.sqrt(np.square(removed).mean(dtype=np.float64))),
        }
        return FusedFrame(target, image, variance, found.attention, diagnostics)
