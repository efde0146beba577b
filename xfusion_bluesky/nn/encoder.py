"""Features of single LR and HR frames, as all published networks make them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from xfusion_bluesky.nn.alignment import FrameFeatures, PyramidAlignment, Reference, joined
from xfusion_bluesky.nn.residual import activate, residual_blocks

__all__ = ["AlignmentSize", "FrameEncoder"]


@dataclass(frozen=True)
class AlignmentSize:
    """Size of the part that aligns frames.

    Parameters
    ----------
    groups : int
        Deformable groups.
    extract_blocks : int
        Residual blocks each frame goes through first.
    """

    groups: int = 8
    extract_blocks: int = 5


class FrameEncoder(nn.Module):
    """The part of a network that looks at one frame at a time.

    Subclasses add what compares frames. Names of layers are those of the published checkpoints.

    Parameters
    ----------
    features : int
        Channels inside.
    channels_in : int
        Of a frame.
    takes_hr : bool
        Whether there are HR frames.
    alignment : AlignmentSize or None
        None for networks that do not align.
    """

    def __init__(
        self, features: int, channels_in: int, takes_hr: bool, alignment: AlignmentSize | None
    ) -> None:
        super().__init__()

        def conv(inputs: int = features, stride: int = 1) -> nn.Conv2d:
            return nn.Conv2d(inputs, features, 3, stride, padding=1)

        self.conv_first = conv(channels_in)
        if takes_hr:
            self.conv_first_hi = conv(channels_in)
            self.conv1_hi = conv()
            self.conv2_hi = conv()
        self.aligns = alignment is not None
        if alignment is not None:
            self.feature_extraction = residual_blocks(features, alignment.extract_blocks)
            self.conv_l2_1 = conv(stride=2)
            self.conv_l2_2 = conv()
            self.conv_l3_1 = conv(stride=2)
            self.conv_l3_2 = conv()
            self.pcd_align = PyramidAlignment(features, alignment.groups)

    def lr_features(self, image: Tensor) -> FrameFeatures:
        """Return the features of LR frames (n, channels, h, w)."""
        return self._features(activate(self.conv_first(image)))

    def hr_features(self, image: Tensor) -> FrameFeatures:
        """Return the features of HR frames (n, channels, 4 h, 4 w) on the LR grid."""
        x = activate(self.conv1_hi(activate(self.conv_first_hi(image))))
        x = activate(self.conv2_hi(functional.max_pool2d(x, 3, 2, 1)))
        return self._features(functional.max_pool2d(x, 3, 2, 1))

    def aligned(self, frames: list[FrameFeatures], reference: int) -> list[Tensor]:
        """Return the features of every frame, aligned with those of frame `reference`.

        Parameters
        ----------
        frames : list of FrameFeatures
            Of the same batch size.
        reference : int
            Place in `frames`; it is aligned with itself, too.
        """
        if not self.aligns:
            return [frame.levels[0] for frame in frames]
        target = self.pcd_align.reference(frames[reference].levels)
        if target.cascade.is_cuda:
            return self._aligned_at_once(frames, target)
        return [self.pcd_align(frame, target) for frame in frames]

    def _aligned_at_once(self, frames: list[FrameFeatures], target: Reference) -> list[Tensor]:
        """Align as one batch, which fills a large device but takes more memory."""
        times = (len(frames), 1, 1, 1)
        every = Reference(
            tuple(half.repeat(times) for half in target.halves), target.cascade.repeat(times)
        )
        aligned: Tensor = self.pcd_align(joined(frames), every)
        return list(aligned.chunk(len(frames)))

    def _features(self, x: Tensor) -> FrameFeatures:
        if not self.aligns:
            return FrameFeatures((x,))
        l1 = self.feature_extraction(x)
        l2 = activate(self.conv_l2_2(activate(self.conv_l2_1(l1))))
        l3 = activate(self.conv_l3_2(activate(self.conv_l3_1(l2))))
        levels = (l1, l2, l3)
        return FrameFeatures(levels, self.pcd_align.halves(levels))
