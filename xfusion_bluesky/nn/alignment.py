"""Alignment of one frame's features with another's by a pyramid of deformable convolutions.

Everything that belongs to one frame alone is kept apart from what belongs to a pair of frames, so
that a sequence does it once a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xfusion_bluesky.nn.deformable import ModulatedDeformableConv
from xfusion_bluesky.nn.residual import activate, convolve_part

__all__ = ["FrameFeatures", "PyramidAlignment", "Reference", "joined"]

_LEVELS = ("l3", "l2", "l1")


@dataclass(frozen=True, eq=False)
class FrameFeatures:
    """What is known of frames before they are compared with any other.

    Parameters
    ----------
    levels : tuple of (n, c, h / 2**k, w / 2**k) tensors
        Features, the finest first: three levels for networks that align, else one.
    halves : tuple of tensors like `levels`
        Share of the frame in the first offset convolution of each level; empty without alignment.
    """

    levels: tuple[Tensor, ...]
    halves: tuple[Tensor, ...] = ()


def joined(features: list[FrameFeatures]) -> FrameFeatures:
    """Return one batch of several."""
    if len(features) == 1:
        return features[0]
    return FrameFeatures(
        tuple(torch.cat(level) for level in zip(*(f.levels for f in features), strict=True)),
        tuple(torch.cat(half) for half in zip(*(f.halves for f in features), strict=True)),
    )


@dataclass(frozen=True, eq=False)
class Reference:
    """Share of the frame that others are aligned with, done once for all of them.

    Parameters
    ----------
    halves : tuple of tensors
        In the first offset convolution of each level, the finest first.
    cascade : (n, c, h, w)
        In that of the cascade.
    """

    halves: tuple[Tensor, ...]
    cascade: Tensor


class PyramidAlignment(nn.Module):
    """Pyramid, cascading and deformable (PCD) alignment.

    Parameters
    ----------
    channels : int
        Of the features.
    groups : int
        Deformable groups.

    References
    ----------
    X. Wang et al., EDVR, CVPR Workshops 2019, section 3.2.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()

        def conv(inputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs * channels, channels, 3, padding=1)

        self.offset_conv1 = nn.ModuleDict({level: conv(2) for level in _LEVELS})
        self.offset_conv2 = nn.ModuleDict(
            {level: conv(1 if level == "l3" else 2) for level in _LEVELS}
        )
        self.offset_conv3 = nn.ModuleDict({level: conv(1) for level in _LEVELS[1:]})
        self.dcn_pack = nn.ModuleDict(
            {level: ModulatedDeformableConv(channels, groups) for level in _LEVELS}
        )
        self.feat_conv = nn.ModuleDict({level: conv(2) for level in _LEVELS[1:]})
        self.cas_offset_conv1 = conv(2)
        self.cas_offset_conv2 = conv(1)
        self.cas_dcnpack = ModulatedDeformableConv(channels, groups)
        self._own, self._other = slice(None, channels), slice(channels, None)

    def halves(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return a frame's share in the first offset convolutions when it is to be aligned."""
        return tuple(
            convolve_part(self._conv1(level), x, self._own, bias=False)
            for level, x in zip(reversed(_LEVELS), levels, strict=True)
        )

    def reference(self, levels: tuple[Tensor, ...]) -> Reference:
        """Return a frame's share when others are aligned with it."""
        return Reference(
            tuple(
                convolve_part(self._conv1(level), x, self._other, bias=True)
                for level, x in zip(reversed(_LEVELS), levels, strict=True)
            ),
            convolve_part(self.cas_offset_conv1, levels[0], self._other, bias=True),
        )

    def forward(
        self,
        frame: FrameFeatures,
        reference: Reference,
        moved: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """Align frames with a reference.

        Parameters
        ----------
        frame : FrameFeatures
            To be aligned.
        reference : Reference
            With what.
        moved : tuple of tensors, optional
            Levels to which the motion found is applied; default: those of `frame`.

        Returns
        -------
        (n, c, h, w)
            Aligned features.
        """
        levels = frame.levels if moved is None else moved
        offset: Tensor | None = None
        feature: Tensor | None = None
        for k, level in zip((2, 1, 0), _LEVELS, strict=True):
            found = activate(frame.halves[k] + reference.halves[k])
            if offset is not None:
                coarse = 2 * _doubled(offset)
                found = activate(self.offset_conv2[level](torch.cat((found, coarse), dim=1)))
                offset = activate(self.offset_conv3[level](found))
            else:
                offset = activate(self.offset_conv2[level](found))
            warped = self.dcn_pack[level](levels[k], offset)
            if feature is not None:
                warped = self.feat_conv[level](torch.cat((warped, _doubled(feature)), dim=1))
            feature = activate(warped) if level != "l1" else warped
        guide = convolve_part(self.cas_offset_conv1, feature, self._own, bias=False)  # type: ignore[arg-type]
        guide = activate(self.cas_offset_conv2(activate(guide + reference.cascade)))
        return activate(self.cas_dcnpack(feature, guide))

    def _conv1(self, level: str) -> nn.Conv2d:
        conv: nn.Conv2d = self.offset_conv1[level]  # type: ignore[assignment]
        return conv


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
