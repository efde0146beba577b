"""Blocks and stages of the video Swin transformer."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from xfusion_swin_xvr.bands import in_bands
from xfusion_swin_xvr.windows import Windows, attend_in_windows, relative_position_index

__all__ = ["Stage", "convolve_slots"]

_INITIAL_STD = 0.02

Size = tuple[int, int, int]


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int, window: Size) -> None:
        super().__init__()
        rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.heads = heads
        nn.init.trunc_normal_(self.relative_position_bias_table, std=_INITIAL_STD)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        bias, height = self._bias(windows), x.shape[2]
        # A band of whole windows at a time; only the last one has been mixed by the shift.
        unmixed = replace(windows, shift=(windows.shift[0], 0, windows.shift[2]))

        def attend(band: Tensor, end: int) -> Tensor:
            qkv: Tensor = self.qkv(band)
            split = qkv.reshape(*qkv.shape[:-1], 3, self.heads, -1)
            here = windows if end == height else unmixed
            made: Tensor = self.proj(attend_in_windows(split, here, bias.to(qkv.dtype)))
            return made

        return in_bands(attend, x, windows.size[1])

    def _bias(self, windows: Windows) -> Tensor:
        """Bias of each pair of tokens, (heads, N, N).

        A window cut short by the grid takes the leading corner of the index of the full window,
        as the published networks do.
        """
        index: Tensor = self.relative_position_index  # type: ignore[assignment]
        n = windows.size[0] * windows.size[1] * windows.size[2]
        table = self.relative_position_bias_table[index[:n, :n].reshape(-1)]
        return table.reshape(n, n, self.heads).permute(2, 0, 1).contiguous()


class _Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return y


class _Block(nn.Module):
    def __init__(
        self, channels: int, heads: int, window: Size, hidden: int, *, shifted: bool
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = _Attention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = _Mlp(channels, hidden)
        self.window, self.shifted = window, shifted

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attended(self.norm1(x))
        return in_bands(lambda band, _: band + self.mlp(self.norm2(band)), x, 1)

    def _attended(self, x: Tensor) -> Tensor:
        _, d, h, w, _ = x.shape
        windows = Windows.of((d, h, w), self.window, shifted=self.shifted)
        more = windows.padding((d, h, w))
        if any(more):
            x = functional.pad(x, (0, 0, 0, more[2], 0, more[1], 0, more[0]))
        shift, axes = windows.shift, (1, 2, 3)
        if any(shift):
            x = torch.roll(x, [-s for s in shift], axes)
        x = self.attn(x, windows)
        if any(shift):
            x = torch.roll(x, shift, axes)
        return x[:, :d, :h, :w]


class _Blocks(nn.Module):
    def __init__(self, blocks: list[_Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Stage(nn.Module):
    """A residual group: blocks, then a convolution of every time slot.

    Parameters
    ----------
    channels : int
        Of a token.
    heads : int
        Of attention.
    window : (int, int, int)
        Time slots, rows, columns.
    hidden : int
        Channels inside the perceptron.
    depth : int
        Blocks; every other one is shifted.
    """

    def __init__(self, channels: int, heads: int, window: Size, hidden: int, depth: int) -> None:
        super().__init__()
        self.residual_group = _Blocks(
            [_Block(channels, heads, window, hidden, shifted=bool(k % 2)) for k in range(depth)]
        )
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, slots, h, w, channels) from the same."""
        return x + convolve_slots(self.conv, self.residual_group(x))


def convolve_slots(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve every time slot of (n, slots, h, w, channels) as an image."""
    y: Tensor = conv(x.flatten(0, 1).permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)
