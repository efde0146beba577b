"""Backend `hold`: the HR frame nearest in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_motion.interval import require_hr
from xfusion_motion.version import __version__

__all__ = ["Hold"]


@dataclass(frozen=True)
class Hold:
    """The nearest valid HR frame in time; of two equally near ones the earlier."""

    info: ClassVar[BackendInfo] = BackendInfo(
        id="hold",
        version=__version__,
        summary="nearest HR frame in time; ignores the LR frames",
        needs_hr=True,
        gives_attention=True,
    )

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the held frame of each target; see `Backend.reconstruct`."""
        require_hr(self.info.id, sequence)
        return (_held(sequence, target) for target in targets)


def _held(sequence: DualSequence, target: int) -> FusedFrame:
    near, tau = sequence.neighbours(target), sequence.tau(target)
    takes_before = near.after is None or (near.before is not None and tau <= 0.5)
    source = near.before if takes_before else near.after
    if source is None:
        raise RuntimeError(f"no HR neighbour of LR frame {target}")
    return FusedFrame(
        target=target,
        image=sequence.hr(source),
        attention=(1.0, 0.0, 0.0) if takes_before else (0.0, 1.0, 0.0),
        diagnostics={
            "tau": tau,
            "hr_distance_ns": abs(float(sequence.lr_time_ns[target] - sequence.hr_time_ns[source])),
        },
    )
