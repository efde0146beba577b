"""Backend `flow-bp`: HR neighbours moved to the target, then back-projection of the LR frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.interval import Image, require_hr
from xfusion_motion.linear_bp import wiener_gain
from xfusion_motion.lr_video import EVIDENCE_PX
from xfusion_motion.resampling import enlarge_flow, smooth, upsample_cubic, upsample_linear, warp
from xfusion_motion.scene import Scene, masked_frame
from xfusion_motion.version import __version__

__all__ = ["FlowBackProjection"]


@dataclass(frozen=True)
class FlowBackProjection:
    """``x = x_f + U3(kappa (y - H x_f))``, where x_f blends the HR neighbours moved to the target.

    ``x_f = sum_k p_k w_k / sum_k p_k`` with the warped neighbours w_k and
    ``p_k = pi_k / <(H w_k - y)^2>``, pi = (1 - tau, tau).
    """

    info: ClassVar[BackendInfo] = BackendInfo(
        id="flow-bp",
        version=__version__,
        summary="HR neighbours moved by optical flow, corrected by the LR frame",
        needs_hr=True,
        lr_context=14,
        gives_attention=True,
    )

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the fused frame of each target; see `Backend.reconstruct`."""
        require_hr(self.info.id, sequence)
        return self._frames(sequence, targets)

    def _frames(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        scene = Scene.of(sequence)
        for target in targets:
            yield _frame(scene, target)


def _frame(scene: Scene, target: int) -> FusedFrame:
    sequence = scene.sequence
    mask = sequence.lr_mask(target)
    if not mask.any():
        return masked_frame(sequence, target)
    estimate = scene.video.estimate(target)
    near, tau = sequence.neighbours(target), sequence.tau(target)
    moved: list[Image] = []
    shares: list[Image] = []
    for j, prior in ((near.before, 1 - tau), (near.after, tau)):
        if j is None or prior == 0:
            continue
        image = warp(scene.frames.get(j).image, enlarge_flow(scene.flow(estimate.image, j)))
        apart = smooth(np.square(block_mean(image) - estimate.image), EVIDENCE_PX)
        moved.append(image)
        shares.append(np.float32(prior) / (apart + scene.frames.tiny))
    of_first = shares[0] / sum(shares)
    fused = moved[0]
    if len(moved) == 2:
        fused = moved[1] + upsample_linear(of_first) * (moved[0] - moved[1])
    y = sequence.lr(target)
    residual = np.where(mask, y - block_mean(fused), np.float32(0))
    gain = wiener_gain(residual, y, scene.video.noise)
    image = fused + upsample_cubic(gain * residual)
    first = float(of_first.mean(dtype=np.float64))
    before = first if near.before is not None and tau < 1 else 0.0
    return FusedFrame(
        target=target,
        image=image,
        attention=(before, 1 - before, 0.0),
        diagnostics={
            "tau": tau,
            "residual_rms": float(np.sqrt(np.square(residual).mean(where=mask, dtype=np.float64))),
            "gain_mean": float(gain.mean(where=mask, dtype=np.float64)),
        },
    )
