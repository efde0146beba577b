"""Windows of a (time, row, column) grid: sizes, shifts, masks, and attention inside them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Windows", "attend_in_windows", "relative_position_index"]

_APART = -100.0
"""Added between tokens that only the cyclic shift has brought together; not minus infinity."""

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Windows:
    """How a grid is cut into windows.

    Parameters
    ----------
    size : (int, int, int)
        Of a window: time, rows, columns.
    shift : (int, int, int)
        Of the cut against the grid.
    """

    size: Size
    shift: Size

    @classmethod
    def of(cls, grid: Size, size: Size, *, shifted: bool) -> Windows:
        """Return the windows of a grid; an axis that fits into one window is not shifted."""
        fits = [n <= w for n, w in zip(grid, size, strict=True)]
        used = [n if f else w for n, w, f in zip(grid, size, fits, strict=True)]
        shift = [0 if f or not shifted else w // 2 for w, f in zip(size, fits, strict=True)]
        return cls((used[0], used[1], used[2]), (shift[0], shift[1], shift[2]))

    def padding(self, grid: Size) -> Size:
        """Return what to add at the end of each axis to make whole windows."""
        d, h, w = (-n % s for n, s in zip(grid, self.size, strict=True))
        return d, h, w

    def mask(self, last: tuple[bool, bool, bool], like: Tensor) -> Tensor | None:
        """Return what to add to the attention in some windows.

        Parameters
        ----------
        last : (bool, bool, bool)
            Whether they are the last ones along each axis; only there the cyclic shift brings
            strangers together.
        like : Tensor
            Gives device and dtype.

        Returns
        -------
        (N, N) tensor or None
            0 or -100 between the N tokens of a window; None where all is 0.
        """
        mixed = [bool(shift) and at_end for shift, at_end in zip(self.shift, last, strict=True)]
        if not any(mixed):
            return None
        labels = torch.zeros(self.size, dtype=torch.long, device=like.device)
        for axis in (axis for axis in range(3) if mixed[axis]):
            size = self.size[axis]
            wrapped = torch.arange(size, device=like.device) >= size - self.shift[axis]
            shape = [size if k == axis else 1 for k in range(3)]
            labels = labels + (wrapped.long() << axis).reshape(shape)
        flat = labels.reshape(-1)
        apart = flat[:, None] != flat[None, :]
        return torch.where(apart, _APART, 0.0).to(like.dtype)


def relative_position_index(size: Size) -> Tensor:
    """Return for each pair of tokens of a window the row of the bias table, (N, N) int64."""
    axes = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    tokens = torch.stack([axis.reshape(-1) for axis in axes])
    apart = tokens[:, :, None] - tokens[:, None, :]
    index = torch.zeros_like(apart[0])
    for axis, n in enumerate(size):
        index = index * (2 * n - 1) + apart[axis] + n - 1
    return index


def attend_in_windows(qkv: Tensor, windows: Windows, bias: Tensor) -> Tensor:
    """Let the tokens of each window attend to each other.

    Nothing of the size windows x N x N is made: windows differ in their mask only at the end of
    an axis, so that all others share one.

    Parameters
    ----------
    qkv : (n, d, h, w, 3, heads, c)
        Queries, keys and values on a grid of whole windows, already shifted.
    windows : Windows
        How it is cut.
    bias : (heads, N, N)
        Relative position bias.

    Returns
    -------
    (n, d, h, w, heads * c)
    """
    n, *grid, _, heads, channels = qkv.shape
    counts = [g // s for g, s in zip(grid, windows.size, strict=True)]
    d, h, w = windows.size
    # (3, n, counts..., heads, size..., c): windows in front, tokens behind.
    tokens = qkv.reshape(n, counts[0], d, counts[1], h, counts[2], w, 3, heads, channels)
    tokens = tokens.permute(7, 0, 1, 3, 5, 8, 2, 4, 6, 9)
    out = qkv.new_empty(n, *counts, heads, d * h * w, channels)
    for ends in product(*(_ends(c, s) for c, s in zip(counts, windows.shift, strict=True))):
        part = tuple(span for span, _ in ends)
        mask = windows.mask((ends[0][1], ends[1][1], ends[2][1]), bias)
        some = tokens[(slice(None), slice(None), *part)]
        shape = some.shape[1:5]
        query, key, value = some.reshape(3, shape.numel(), heads, d * h * w, channels)
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=(bias if mask is None else bias + mask)[None]
        )
        out[(slice(None), *part)] = attended.reshape(*shape, heads, d * h * w, channels)
    out = out.reshape(n, *counts, heads, d, h, w, channels)
    return out.permute(0, 1, 5, 2, 6, 3, 7, 4, 8).reshape(n, *grid, heads * channels)


def _ends(count: int, shift: int) -> list[tuple[slice, bool]]:
    """Windows along an axis: those before the last, and the last, which the shift has mixed."""
    if not shift:
        return [(slice(None), False)]
    return [(slice(count - 1), False)] * (count > 1) + [(slice(count - 1, count), True)]
