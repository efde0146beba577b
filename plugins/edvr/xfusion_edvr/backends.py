"""Backends `edvr` and `edvr-stf`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from xfusion_bluesky.backends.contract import BackendInfo, Weights
from xfusion_bluesky.nn.backend import NEEDS_WEIGHTS, TrainedBackend
from xfusion_edvr.version import __version__

if TYPE_CHECKING:
    from xfusion_bluesky.nn.checkpoints import Checkpoint
    from xfusion_bluesky.nn.window import WindowNetwork

__all__ = ["EDVRBackend", "EDVRSTFBackend"]


@dataclass(frozen=True)
class EDVRBackend(TrainedBackend):
    """EDVR: LR frames alone; parameters as for `TrainedBackend`."""

    base: ClassVar[BackendInfo] = BackendInfo(
        id="edvr",
        version=__version__,
        summary="EDVR network: LR frames aligned and upsampled; uses no HR frame",
        needs_hr=False,
        lr_context=1,
        gives_attention=True,
        unavailable=NEEDS_WEIGHTS,
        claims_accuracy=False,
    )

    @classmethod
    def _containers(cls) -> tuple[str, ...]:
        return ("params", "params_ema")

    def _fitted(self, checkpoint: Checkpoint) -> WindowNetwork:
        import torch

        from xfusion_bluesky.nn.checkpoints import fit
        from xfusion_edvr.network import EDVR
        from xfusion_edvr.sizes import size_of

        size = size_of(checkpoint, takes_hr=self.base.needs_hr)
        with torch.device("meta"):
            network = EDVR(size)
        fit(network, checkpoint, f"{self.base.id} of {size.features} features")
        return network

    def _described(self, weights: Weights) -> BackendInfo:
        from xfusion_edvr.network import EDVR

        network = self._network
        attends = isinstance(network, EDVR) and network.size.attends
        described = super()._described(weights)
        return replace(described, lr_context=network.lr_frames // 2, gives_attention=attends)


@dataclass(frozen=True)
class EDVRSTFBackend(EDVRBackend):
    """EDVR-STF: LR frames and the HR frames around; parameters as for `TrainedBackend`."""

    base: ClassVar[BackendInfo] = replace(
        EDVRBackend.base,
        id="edvr-stf",
        summary="EDVR-STF network: LR frames and the HR frames around, aligned and fused",
        needs_hr=True,
    )
