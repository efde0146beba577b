"""Backend `swin-xvr`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from xfusion_bluesky.backends.contract import BackendInfo, Weights
from xfusion_bluesky.nn.backend import NEEDS_WEIGHTS, TrainedBackend
from xfusion_swin_xvr.version import __version__

if TYPE_CHECKING:
    from xfusion_bluesky.nn.checkpoints import Checkpoint
    from xfusion_bluesky.nn.window import WindowNetwork

__all__ = ["SwinXVRBackend"]


@dataclass(frozen=True)
class SwinXVRBackend(TrainedBackend):
    """SWIN-XVR: LR frames and the HR frames around; parameters as for `TrainedBackend`."""

    base: ClassVar[BackendInfo] = BackendInfo(
        id="swin-xvr",
        version=__version__,
        summary="SWIN-XVR network: a video transformer over LR frames and the HR frames around",
        needs_hr=True,
        lr_context=1,
        unavailable=NEEDS_WEIGHTS,
        claims_accuracy=False,
    )

    @classmethod
    def _containers(cls) -> tuple[str, ...]:
        return ("params_ema", "params")

    def _fitted(self, checkpoint: Checkpoint) -> WindowNetwork:
        import torch

        from xfusion_bluesky.nn.checkpoints import fit
        from xfusion_swin_xvr.network import SwinXVR
        from xfusion_swin_xvr.sizes import size_of

        size = size_of(checkpoint)
        with torch.device("meta"):
            network = SwinXVR(size)
        fit(network, checkpoint, f"SWIN-XVR of {size.embedded} channels")
        return network

    def _described(self, weights: Weights) -> BackendInfo:
        described = super()._described(weights)
        return replace(described, lr_context=self._network.lr_frames // 2)
