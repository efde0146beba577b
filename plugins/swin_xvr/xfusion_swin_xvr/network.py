"""The network SWIN-XVR in all its forms, with the layer names of its checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.nn.alignment import FrameFeatures, PyramidAlignment
from xfusion_bluesky.nn.encoder import AlignmentSize, FrameEncoder
from xfusion_bluesky.nn.fused import Fused
from xfusion_bluesky.nn.residual import activate
from xfusion_swin_xvr.blocks import Stage, convolve_slots

__all__ = ["SwinXVR", "SwinXVRSize"]

_UPSAMPLED = 64
_UPSAMPLING_SLOPE = 0.01
_HR_FRAMES = 2
_COARSEST = 4


@dataclass(frozen=True)
class SwinXVRSize:
    """Which SWIN-XVR; the defaults are those of the published option files.

    Parameters
    ----------
    channels : int
        Of an image; 1 is grey.
    features : int
        Channels of a frame's features.
    embedded : int
        Channels of a token.
    window : (int, int, int)
        Of attention: time slots, rows, columns.
    depths, heads : tuple of int
        Blocks, and heads of attention, of each stage.
    hidden : int
        Channels inside the perceptrons.
    lr_frames : int
        In a window; the HR frames before and after come on top.
    alignment : AlignmentSize or None
        Whether frames are aligned first.
    projects : bool
        Whether a 1 x 1 convolution takes features to tokens.
    multi_output : bool
        Whether every LR frame of the window gets an image, not only the target.
    """

    channels: int = 1
    features: int = 192
    embedded: int = 192
    window: tuple[int, int, int] = (5, 8, 8)
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (3, 3, 3, 3)
    hidden: int = 384
    lr_frames: int = 3
    alignment: AlignmentSize | None = None
    projects: bool = False
    multi_output: bool = False

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.lr_frames + _HR_FRAMES


class SwinXVR(FrameEncoder):
    """Video Swin transformer that fuses LR and HR frames.

    Parameters
    ----------
    size : SwinXVRSize
        Which.

    References
    ----------
    Z. Liu et al., Video Swin Transformer, CVPR 2022; J. Liang et al., SwinIR, ICCV Workshops 2021.
    """

    def __init__(self, size: SwinXVRSize) -> None:
        super().__init__(size.features, size.channels, takes_hr=True, alignment=size.alignment)
        self.size = size
        self.lr_frames, self.hr_frames = size.lr_frames, _HR_FRAMES
        self.reference = size.lr_frames // 2
        self.multiple_px = 1 if size.alignment is None else _COARSEST
        # Tiles whose windows lie where those of the whole frame do differ least from it.
        self.tile_multiple_px = math.lcm(self.multiple_px, *size.window[1:])
        width = size.embedded
        # Four maps as large as the HR frame; tokens, queries, keys, values of every time slot.
        self.bytes_per_px = 4.0 * (
            4 * SCALE**2 * size.features + size.frames * (4 * size.features + 10 * width)
        )
        if size.projects:
            self.channel_projection = nn.Conv2d(size.features, width, 1)
        self.layers = nn.ModuleList(
            Stage(width, heads, size.window, size.hidden, depth)
            for depth, heads in zip(size.depths, size.heads, strict=True)
        )
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        last = size.features if size.multi_output and size.projects else width
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(last, _UPSAMPLED, 3, padding=1),
            nn.LeakyReLU(_UPSAMPLING_SLOPE, inplace=True),
        )
        self.upsample = nn.Sequential(
            nn.Conv2d(_UPSAMPLED, 4 * _UPSAMPLED, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(_UPSAMPLED, 4 * _UPSAMPLED, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.conv_last = nn.Conv2d(_UPSAMPLED, size.channels, 3, padding=1)
        self.moves_back = size.multi_output and size.alignment is not None
        if size.multi_output and size.projects:
            self.channel_projection_postfusion = nn.Conv2d(width, size.features, 1)
        if self.moves_back and size.alignment is not None:
            for name, stride in (("l2_1", 2), ("l2_2", 1), ("l3_1", 2), ("l3_2", 1)):
                conv = nn.Conv2d(size.features, size.features, 3, stride, padding=1)
                self.add_module(f"conv_{name}_postfusion", conv)
            self.pcd_align_postfusion = PyramidAlignment(size.features, size.alignment.groups)

    def forward(self, lr: Tensor, hr: Tensor) -> Fused:
        """Fuse whole windows, every frame anew.

        Parameters
        ----------
        lr : (n, lr_frames, channels, h, w)
            In [0, 1]; with alignment, h and w are multiples of 4.
        hr : (n, 2, channels, 4 h, 4 w)
            The HR frames before and after.
        """
        return self.fuse(self.features(lr, hr), lr[:, self.reference])

    def features(self, lr: Tensor, hr: Tensor) -> list[FrameFeatures]:
        """Return the features of every frame of whole windows; parameters as for `forward`."""
        of_lr = [self.lr_features(lr[:, k]) for k in range(lr.shape[1])]
        return of_lr + [self.hr_features(hr[:, k]) for k in range(hr.shape[1])]

    def fuse(self, frames: list[FrameFeatures], target: Tensor) -> Fused:
        """Fuse windows of frames whose features are known.

        Parameters
        ----------
        frames : list of FrameFeatures
            LR frames in the order of time, then the HR frames before and after.
        target : (n, channels, h, w)
            LR frame of the target; all that is used of it is in `frames`.
        """
        return Fused(self.images(frames, [self.reference])[0])

    def images(self, frames: list[FrameFeatures], slots: list[int]) -> list[Tensor]:
        """Return the images of some LR frames of a window.

        Parameters
        ----------
        frames : list of FrameFeatures
            As for `fuse`.
        slots : list of int
            Which LR frames. Only a network of several outputs has learned others than the target.
        """
        x = torch.stack(self.aligned(frames, self.reference), dim=1)
        if self.size.projects:
            x = self.channel_projection(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        tokens = x.permute(0, 1, 3, 4, 2).contiguous()
        body = tokens
        for stage in self.layers:
            body = stage(body)
        # What follows does not mix time slots: only those asked for are worked on.
        body = convolve_slots(self.conv_after_body, self.norm(body[:, slots]))
        enhanced = (body + tokens[:, slots]).permute(0, 1, 4, 2, 3)
        made = []
        for k, slot in enumerate(slots):
            y = enhanced[:, k]
            if self.size.multi_output and self.size.projects:
                y = self.channel_projection_postfusion(y)
            if self.moves_back:
                y = self._moved_back(y, frames, slot)
            made.append(self.conv_last(self.upsample(self.conv_before_upsample(y))))
        return made

    def _moved_back(self, x: Tensor, frames: list[FrameFeatures], slot: int) -> Tensor:
        """Move enhanced features from the time of the target to that of an LR frame."""
        layers = dict(self.named_children())
        l2 = activate(layers["conv_l2_1_postfusion"](x))
        l2 = activate(layers["conv_l2_2_postfusion"](l2))
        l3 = activate(layers["conv_l3_1_postfusion"](l2))
        l3 = activate(layers["conv_l3_2_postfusion"](l3))
        align = self.pcd_align_postfusion
        here, there = frames[self.reference].levels, frames[slot].levels
        moved: Tensor = align(
            FrameFeatures(here, align.halves(here)), align.reference(there), (x, l2, l3)
        )
        return moved
