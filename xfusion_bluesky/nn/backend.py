"""A backend that runs a trained network; its subclasses say which. Imports torch only when made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xfusion_bluesky.backends.contract import BackendInfo, FusedFrame, Weights
from xfusion_bluesky.fusion.sequence import DualSequence, NoHRFrameError

if TYPE_CHECKING:
    from xfusion_bluesky.nn.checkpoints import Checkpoint
    from xfusion_bluesky.nn.placement import Placement
    from xfusion_bluesky.nn.window import WindowNetwork

__all__ = ["NEEDS_WEIGHTS", "TrainedBackend"]

NEEDS_WEIGHTS = "needs --weights"

_LICENCE = "that of whoever trained them"


@dataclass(frozen=True)
class TrainedBackend(ABC):
    """A network with weights from a file.

    Parameters
    ----------
    weights : str
        Whole path of the checkpoint.
    sha256 : str
        What the file has to have; "": anything.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    precision : str
        ``"auto"``, ``"fp32"``, ``"tf32"`` or ``"bf16"``; see `Placement.choose`.
    tile_px : int
        Side of the tiles that frames are cut into, in LR pixels; 0: only when memory is short.
    intensities : str
        ``"percentiles"`` or ``"unit"``; see `NetworkFrames`.

    Attributes
    ----------
    base : BackendInfo
        What the backend is without weights.

    Raises
    ------
    ValueError
        If a parameter cannot be used, or the checkpoint is not one of this network.
    FileNotFoundError
        If there is no such checkpoint.
    """

    weights: str = ""
    sha256: str = ""
    device: str = "auto"
    precision: str = "auto"
    tile_px: int = 0
    intensities: str = "percentiles"
    _network: WindowNetwork = field(init=False, repr=False, compare=False)
    _placement: Placement = field(init=False, repr=False, compare=False)
    _info: BackendInfo = field(init=False, repr=False, compare=False)

    base: ClassVar[BackendInfo]

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError(
                f"backend {self.base.id!r} needs trained weights: give a checkpoint with "
                f"--weights FILE, or weights in [reconstruction.parameters.{self.base.id}]"
            )
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f"backend {self.base.id!r} needs PyTorch: pip install 'xfusion-bluesky[nn]'"
            ) from error
        from xfusion_bluesky.nn.checkpoints import CheckpointError, read_checkpoint
        from xfusion_bluesky.nn.frames import INTENSITIES
        from xfusion_bluesky.nn.placement import Placement

        if self.intensities not in INTENSITIES:
            raise ValueError(f"intensities {self.intensities!r} is none of {INTENSITIES}")
        if self.tile_px < 0:
            raise ValueError(f"tile_px {self.tile_px} is less than 0")
        placement = Placement.choose(self.device, self.precision)
        path = Path(self.weights).expanduser()
        checkpoint = read_checkpoint(path, self._containers())
        if self.sha256 and checkpoint.sha256 != self.sha256.lower():
            raise CheckpointError(
                f"{path} has the SHA-256 {checkpoint.sha256}, expected {self.sha256}: it is "
                f"another file than the one asked for"
            )
        network = self._fitted(checkpoint)
        weights = Weights(path.name, checkpoint.sha256, _LICENCE)
        object.__setattr__(self, "_network", network)
        object.__setattr__(self, "_placement", placement)
        object.__setattr__(self, "_info", self._described(weights))

    @property
    def info(self) -> BackendInfo:
        """What it is and needs."""
        return self._info

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the fused frame of each target; see `Backend.reconstruct`."""
        from xfusion_bluesky.nn.streaming import SequenceFusion

        if self.info.needs_hr and not sequence.hr_valid.any():
            raise NoHRFrameError(
                f"backend {self.info.id!r} needs at least one valid HR frame; none of the "
                f"{sequence.n_hr} of this sequence is valid: use 'bicubic' or 'edvr', which need "
                f"none"
            )
        fusion = SequenceFusion(
            self._network, sequence, self.intensities, self._placement, self.tile_px
        )
        return fusion.frames(targets)

    @classmethod
    @abstractmethod
    def _containers(cls) -> tuple[str, ...]:
        """Return which part of a checkpoint to take, the best first."""

    @abstractmethod
    def _fitted(self, checkpoint: Checkpoint) -> WindowNetwork:
        """Return the network with these weights.

        Raises
        ------
        CheckpointError
            If they are those of another network.
        """

    def _described(self, weights: Weights) -> BackendInfo:
        """Return what the backend is with its weights."""
        return replace(self.base, unavailable=None, weights=weights)
