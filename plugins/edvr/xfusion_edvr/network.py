"""The networks EDVR and EDVR-STF, with the layer names of their published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.nn.alignment import FrameFeatures
from xfusion_bluesky.nn.encoder import AlignmentSize, FrameEncoder
from xfusion_bluesky.nn.fused import Fused
from xfusion_bluesky.nn.residual import activate, residual_blocks
from xfusion_edvr.attention import Attended, TemporalSpatialAttention

__all__ = ["EDVR", "EDVRSize"]

_UPSAMPLED = 64
_COARSEST = 4


@dataclass(frozen=True)
class EDVRSize:
    """Which EDVR; the defaults are those of the published EDVR-STF.

    Parameters
    ----------
    channels : int
        Of an image; 1 is grey.
    features : int
        Channels inside.
    lr_frames, hr_frames : int
        In a window. LR frames stand around the target; HR frames are the ones before and after,
        and none for plain EDVR.
    alignment : AlignmentSize
        Of the alignment.
    reconstruct_blocks : int
        Residual blocks after fusion.
    attends : bool
        Temporal and spatial attention; False: one 1 x 1 convolution instead.
    """

    channels: int = 1
    features: int = 128
    lr_frames: int = 3
    hr_frames: int = 2
    alignment: AlignmentSize = field(default_factory=AlignmentSize)
    reconstruct_blocks: int = 40
    attends: bool = True

    @property
    def frames(self) -> int:
        """Frames that are fused."""
        return self.lr_frames + self.hr_frames


class EDVR(FrameEncoder):
    """Video restoration with enhanced deformable convolutions, with or without HR frames.

    Parameters
    ----------
    size : EDVRSize
        Which.

    References
    ----------
    X. Wang et al., EDVR, CVPR Workshops 2019, and its extension by HR frames (STF) for x-rays.
    """

    def __init__(self, size: EDVRSize) -> None:
        super().__init__(size.features, size.channels, size.hr_frames > 0, size.alignment)
        self.size = size
        self.lr_frames, self.hr_frames = size.lr_frames, size.hr_frames
        self.reference = size.lr_frames // 2
        self.multiple_px = self.tile_multiple_px = _COARSEST
        features = size.features
        # Four maps as large as the HR frame, and the features of every frame with their halves.
        self.bytes_per_px = 4.0 * features * (4 * SCALE**2 + 4 * size.frames)
        self.fusion = (
            TemporalSpatialAttention(features, size.frames)
            if size.attends
            else nn.Conv2d(size.frames * features, features, 1)
        )
        self.reconstruction = residual_blocks(features, size.reconstruct_blocks)
        self.upconv1 = nn.Conv2d(features, 4 * features, 3, padding=1)
        self.upconv2 = nn.Conv2d(features, 4 * _UPSAMPLED, 3, padding=1)
        self.conv_hr = nn.Conv2d(_UPSAMPLED, _UPSAMPLED, 3, padding=1)
        self.conv_last = nn.Conv2d(_UPSAMPLED, size.channels, 3, padding=1)

    def forward(self, lr: Tensor, hr: Tensor | None = None) -> Fused:
        """Fuse whole windows, every frame anew.

        Parameters
        ----------
        lr : (n, lr_frames, channels, h, w)
            In [0, 1]; h and w are multiples of 4.
        hr : (n, hr_frames, channels, 4 h, 4 w), optional
            The HR frames before and after.
        """
        frames = [self.lr_features(lr[:, k]) for k in range(lr.shape[1])]
        if hr is not None:
            frames += [self.hr_features(hr[:, k]) for k in range(hr.shape[1])]
        return self.fuse(frames, lr[:, self.reference])

    def fuse(self, frames: list[FrameFeatures], target: Tensor) -> Fused:
        """Fuse windows of frames whose features are known.

        Parameters
        ----------
        frames : list of FrameFeatures
            LR frames in the order of time, then the HR frames before and after.
        target : (n, channels, h, w)
            LR frame of the target.
        """
        attended = self.attend(self.aligned(frames, self.reference))
        x = self.reconstruction(attended.features)
        x = activate(functional.pixel_shuffle(self.upconv1(x), 2))
        x = activate(functional.pixel_shuffle(self.upconv2(x), 2))
        x = self.conv_last(activate(self.conv_hr(x)))
        base = functional.interpolate(
            target, scale_factor=SCALE, mode="bilinear", align_corners=False
        )
        if not self.size.attends:
            return Fused(x + base)
        return Fused(x + base, attended.scores, attended.shares)

    def attend(self, aligned: list[Tensor]) -> Attended:
        """Fuse aligned features; scores and shares are empty for a network without attention."""
        if isinstance(self.fusion, TemporalSpatialAttention):
            attended: Attended = self.fusion(aligned, self.reference)
            return attended
        features = self.fusion(torch.cat(aligned, dim=1))
        nothing = features.new_empty(0)
        return Attended(features, nothing, nothing)
