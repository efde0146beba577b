"""Large frames worked on in bands of rows, so that what lies between two layers stays small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["in_bands"]

_CPU_BAND_BYTES = 8 * 2**20


def in_bands(work: Callable[[Tensor, int], Tensor], x: Tensor, multiple: int) -> Tensor:
    """Do something to bands of rows, one after another, where that saves time.

    On a CPU, tensors larger than the cache cost more to get from the system and to fill than to
    compute. On other devices, and when gradients are wanted, all rows are one band.

    Parameters
    ----------
    work : callable
        Gets rows (n, slots, rows, w, channels) and where they end; gives the same shape.
    x : (n, slots, h, w, channels)
        Not changed.
    multiple : int
        Of the height of a band; h is a multiple of it.
    """
    height = x.shape[2]
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return work(x, height)
    row_bytes = x.element_size() * x.numel() // height
    rows = multiple * max(1, _CPU_BAND_BYTES // (row_bytes * multiple))
    if rows >= height:
        return work(x, height)
    out = torch.empty_like(x)
    for begin in range(0, height, rows):
        end = min(begin + rows, height)
        out[:, :, begin:end] = work(x[:, :, begin:end], end)
    return out
