"""Backend `bicubic`: the LR frame upsampled, nothing else. Every other backend has to beat it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo, FusedFrame
from xfusion_bluesky.backends.hookspecs import hookimpl
from xfusion_bluesky.fusion.operators import upsample_cubic
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["Bicubic", "__version__", "xfusion_backends"]

__version__ = "0.1.0"


@dataclass(frozen=True)
class Bicubic:
    """``x_t = U3 y_t``; a masked LR frame gives a masked frame."""

    info: ClassVar[BackendInfo] = BackendInfo(
        id="bicubic",
        version=__version__,
        summary="LR frame upsampled with Keys' cubic kernel; uses no HR frame",
        needs_hr=False,
        gives_attention=True,
    )

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the upsampled LR frame of each target; see `Backend.reconstruct`."""
        for target in targets:
            masked = not sequence.lr_mask(target).any()
            yield FusedFrame(
                target=target,
                image=upsample_cubic(sequence.lr(target)),
                attention=(0.0, 0.0, 1.0),
                diagnostics={"masked": 1.0} if masked else {},
            )


@hookimpl
def xfusion_backends() -> list[BackendFactory]:
    """Offer `bicubic`."""
    return [BackendFactory(Bicubic.info, Bicubic)]
