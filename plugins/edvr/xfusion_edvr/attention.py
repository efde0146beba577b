"""Temporal and spatial attention: how EDVR weighs the frames it has aligned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xfusion_bluesky.nn.residual import activate

__all__ = ["Attended", "TemporalSpatialAttention"]


@dataclass(frozen=True, eq=False)
class Attended:
    """Fused features and what each frame had to do with them.

    Parameters
    ----------
    features : (n, c, h, w)
        Fused.
    scores : (n, frames)
        Mean over the pixels of the correlation with the reference, before the sigmoid: the
        attention score of XFusion; may be negative.
    shares : (n, frames)
        Mean over the pixels of each frame's share in the sum of the attention maps; sum 1.
    """

    features: Tensor
    scores: Tensor
    shares: Tensor


class TemporalSpatialAttention(nn.Module):
    """TSA fusion.

    Parameters
    ----------
    channels : int
        Of the features of a frame.
    frames : int
        Frames that are fused.

    References
    ----------
    X. Wang et al., EDVR, CVPR Workshops 2019, section 3.3.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()

        def conv(side: int, inputs: int = 1) -> nn.Conv2d:
            return nn.Conv2d(inputs * channels, channels, side, padding=side // 2)

        self.temporal_attn1 = conv(3)
        self.temporal_attn2 = conv(3)
        self.feat_fusion = conv(1, frames)
        self.spatial_attn1 = conv(1, frames)
        self.spatial_attn2 = conv(1, 2)
        self.spatial_attn3 = conv(3)
        self.spatial_attn4 = conv(1)
        self.spatial_attn5 = conv(3)
        self.spatial_attn_l1 = conv(1)
        self.spatial_attn_l2 = conv(3, 2)
        self.spatial_attn_l3 = conv(3)
        self.spatial_attn_add1 = conv(1)
        self.spatial_attn_add2 = conv(1)

    def forward(self, aligned: list[Tensor], reference: int) -> Attended:
        """Fuse aligned features.

        Parameters
        ----------
        aligned : list of (n, c, h, w)
            In the order of time slots: LR, then HR.
        reference : int
            Slot of the target.
        """
        towards = self.temporal_attn1(aligned[reference])
        exact = torch.promote_types(towards.dtype, torch.float32)
        correlation = torch.stack(
            [(self.temporal_attn2(x).to(exact) * towards.to(exact)).sum(dim=1) for x in aligned],
            dim=1,
        )
        weights = correlation.sigmoid()
        total = weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        weighed = torch.cat(
            [x * weights[:, k : k + 1].to(x.dtype) for k, x in enumerate(aligned)], dim=1
        )
        features = activate(self.feat_fusion(weighed))
        attention, add = self._spatial(weighed)
        return Attended(
            features * attention.sigmoid() * 2 + add,
            correlation.mean(dim=(2, 3)),
            (weights / total).mean(dim=(2, 3)),
        )

    def _spatial(self, weighed: Tensor) -> tuple[Tensor, Tensor]:
        attention = activate(self.spatial_attn1(weighed))
        attention = activate(self.spatial_attn2(_pooled(attention)))
        coarse = activate(self.spatial_attn_l1(attention))
        coarse = activate(self.spatial_attn_l2(_pooled(coarse)))
        coarse = activate(self.spatial_attn_l3(coarse))
        attention = activate(self.spatial_attn3(attention)) + _doubled(coarse)
        attention = activate(self.spatial_attn4(attention))
        attention = self.spatial_attn5(_doubled(attention))
        return attention, self.spatial_attn_add2(activate(self.spatial_attn_add1(attention)))


def _pooled(x: Tensor) -> Tensor:
    return torch.cat((functional.max_pool2d(x, 3, 2, 1), functional.avg_pool2d(x, 3, 2, 1)), dim=1)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
