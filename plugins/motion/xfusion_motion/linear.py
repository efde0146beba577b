"""Backend `linear`: interpolation in time between the HR frames before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.interval import between, require_hr
from xfusion_motion.version import __version__

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear:
    """``x_l = (1 - tau) x_a + tau x_b``; beside only one HR frame, that frame."""

    info: ClassVar[BackendInfo] = BackendInfo(
        id="linear",
        version=__version__,
        summary="linear interpolation between HR frames; ignores the LR frames",
        needs_hr=True,
        gives_attention=True,
    )

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the interpolated frame of each target; see `Backend.reconstruct`."""
        require_hr(self.info.id, sequence)
        return (_interpolated(sequence, target) for target in targets)


def _interpolated(sequence: DualSequence, target: int) -> FusedFrame:
    near, tau = sequence.neighbours(target), sequence.tau(target)
    before = None if near.before is None else sequence.hr(near.before)
    after = None if near.after is None else sequence.hr(near.after)
    return FusedFrame(
        target=target,
        image=between(before, after, tau),
        attention=(1 - tau, tau, 0.0),
        diagnostics={"tau": tau},
    )
