"""Modulated deformable convolution: against its definition, the ordinary one, and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from xfusion_bluesky.nn.deformable import ModulatedDeformableConv, modulated_deformable_conv


def arguments(n: int, channels: int, groups: int, height: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [
        normal(n, channels, height, width),
        1.7 * normal(n, 18 * groups, height, width),
        normal(n, 9 * groups, height, width).sigmoid(),
        normal(6, channels, 3, 3),
        normal(6),
    ]


def by_definition(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    groups = mask.shape[1] // 9
    out = bias.reshape(1, -1, 1, 1).repeat(n, 1, height, width)

    def value(i: int, c: int, row: int, column: int) -> float:
        inside = 0 <= row < height and 0 <= column < width
        return float(x[i, c, row, column]) if inside else 0.0

    for i in range(n):
        for row in range(height):
            for column in range(width):
                for c in range(channels):
                    group = c // (channels // groups)
                    for k in range(9):
                        tap = 9 * group + k
                        at = row - 1 + k // 3 + float(offset[i, 2 * tap, row, column])
                        to = column - 1 + k % 3 + float(offset[i, 2 * tap + 1, row, column])
                        top, left = math.floor(at), math.floor(to)
                        sample = sum(
                            (1 - abs(at - a)) * (1 - abs(to - b)) * value(i, c, a, b)
                            for a in (top, top + 1)
                            for b in (left, left + 1)
                        )
                        weighed = sample * float(mask[i, tap, row, column])
                        out[i, :, row, column] += weighed * weight[:, c, k // 3, k % 3]
    return out


@pytest.mark.parametrize("groups", [1, 2])
def test_it_is_what_its_definition_says(groups: int) -> None:
    given = arguments(2, 4, groups, 5, 7)

    torch.testing.assert_close(modulated_deformable_conv(*given), by_definition(*given))


def test_it_is_differentiable_in_everything() -> None:
    given = [each.requires_grad_() for each in arguments(1, 2, 1, 3, 4)]

    assert torch.autograd.gradcheck(modulated_deformable_conv, given)


def test_strips_of_rows_change_nothing() -> None:
    x, offset, mask, weight, bias = (each.float() for each in arguments(1, 32, 4, 12, 1500))
    whole = modulated_deformable_conv(x, offset, mask, weight, bias)
    top = modulated_deformable_conv(
        *(each[:, :, :6].contiguous() for each in (x, offset, mask)), weight, bias
    )

    # Rows that sample nothing below the cut do not notice it.
    rows = torch.arange(6).reshape(6, 1) + 2 + offset[0, 0::2, :6].amax(dim=0)
    alone = (rows < 5).expand(6, 1500)
    assert alone.any()
    torch.testing.assert_close(whole[0, :, :6][:, alone], top[0][:, alone], rtol=0, atol=1e-4)


def test_an_untrained_one_is_an_ordinary_convolution_at_half_weight() -> None:
    conv = ModulatedDeformableConv(8, 2)
    x = torch.rand(1, 8, 6, 9)

    expected = functional.conv2d(x, conv.weight / 2, conv.bias, padding=1)
    torch.testing.assert_close(conv(x, torch.rand(1, 8, 6, 9)), expected, rtol=0, atol=1e-5)
