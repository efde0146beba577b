"""Modulated deformable convolution in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ModulatedDeformableConv", "modulated_deformable_conv"]

_SIDE = 3
_TAPS = _SIDE * _SIDE
_CPU_CHUNK_BYTES = 8 * 2**20
_CUDA_CHUNK_BYTES = 2**30


def modulated_deformable_conv(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Convolve 3 x 3 with every tap moved and weighed anew at every pixel.

    Stride 1, padding 1, zeros outside, bilinear sampling; differentiable in all arguments. The
    channels of `x` fall into G contiguous groups that share offsets and weights. Tap
    ``k = 3 ky + kx`` of group g samples at ``(row - 1 + ky + dy, column - 1 + kx + dx)``.

    Parameters
    ----------
    x : (n, c, h, w)
        Input.
    offset : (n, 18 G, h, w)
        In pixels; channel ``2 (9 g + k)`` is dy and the next one dx.
    mask : (n, 9 G, h, w)
        Factor of each sample; channel ``9 g + k``.
    weight : (c_out, c, 3, 3)
        Of an ordinary convolution.
    bias : (c_out,)
        Likewise.

    Returns
    -------
    (n, c_out, h, w)
        In the dtype of `x`.

    References
    ----------
    X. Zhu et al., Deformable ConvNets v2, CVPR 2019, eq. (1).
    """
    n, channels, height, width = x.shape
    groups = mask.shape[1] // _TAPS
    planes = x.reshape(n * groups, channels // groups, height, width)
    moves = offset.reshape(n, groups, _TAPS, 2, height, width)
    factors = mask.reshape(n, groups, 1, _TAPS, height, width)
    rows, columns = _taps(height, width, x)
    kernel = weight.reshape(weight.shape[0], channels * _TAPS)
    strips = []
    # The samples of all taps are nine times the input: strips of rows keep them in the cache.
    for begin, end in _strips(x):
        strip = slice(begin, end)
        # grid_sample wants (x, y) with -1 and 1 at the outer edges of the image.
        grid = torch.stack(
            (
                (moves[:, :, :, 1, strip] + columns) * (2 / width) + (1 / width - 1),
                (moves[:, :, :, 0, strip] + rows[:, strip]) * (2 / height) + (1 / height - 1),
            ),
            dim=-1,
        )
        samples = functional.grid_sample(
            planes,
            grid.reshape(n * groups, _TAPS * (end - begin), width, 2),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        weighed = samples.reshape(n, groups, -1, _TAPS, end - begin, width) * factors[..., strip, :]
        strips.append(kernel @ weighed.reshape(n, channels * _TAPS, -1))
    out = torch.cat(strips, dim=-1) + bias.reshape(-1, 1)
    return out.reshape(n, -1, height, width)


class ModulatedDeformableConv(nn.Module):
    """The same, with offsets and weights of the taps predicted from other features.

    Parameters
    ----------
    channels : int
        Of input, output, and the features that predict.
    groups : int
        Groups of channels with offsets of their own.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, _SIDE, _SIDE))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Conv2d(channels, 3 * _TAPS * groups, _SIDE, padding=1)
        bound = 1 / math.sqrt(_TAPS * channels)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Convolve `x` as `guide` says, both (n, channels, h, w)."""
        first, second, mask = self.conv_offset(guide).chunk(3, dim=1)
        offset = torch.cat((first, second), dim=1)
        # Half precision is too coarse for positions: under autocast, samples are taken in float32.
        exact = torch.promote_types(x.dtype, torch.float32)
        return modulated_deformable_conv(
            x.to(exact), offset.to(exact), mask.to(exact).sigmoid(), self.weight, self.bias
        )


def _taps(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Undisturbed rows (9, h, 1) and columns (9, 1, w) of the taps."""
    steps = torch.arange(-1, _SIDE - 1, device=like.device, dtype=like.dtype)
    rows = torch.arange(height, device=like.device, dtype=like.dtype).reshape(1, height, 1)
    columns = torch.arange(width, device=like.device, dtype=like.dtype).reshape(1, 1, width)
    return (
        rows + steps.repeat_interleave(_SIDE).reshape(_TAPS, 1, 1),
        columns + steps.repeat(_SIDE).reshape(_TAPS, 1, 1),
    )


def _strips(x: Tensor) -> list[tuple[int, int]]:
    n, channels, height, width = x.shape
    budget = _CPU_CHUNK_BYTES if x.device.type == "cpu" else _CUDA_CHUNK_BYTES
    rows = max(1, budget // (n * channels * _TAPS * width * x.element_size()))
    return [(begin, min(begin + rows, height)) for begin in range(0, height, rows)]
