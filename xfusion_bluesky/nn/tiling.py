"""Overlapping tiles of a frame, for when a whole one does not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

__all__ = ["Tile", "TileDifference", "Tiling", "tile_difference", "tile_px_for"]

_MEMORY_SHARE = 0.6
_UNUSED = 3 / 8


@dataclass(frozen=True)
class Tile:
    """A rectangle of the LR grid.

    Parameters
    ----------
    rows, columns : slice
        With begin and end.
    """

    rows: slice
    columns: slice

    def crop(self, image: Tensor, scale: int = 1) -> Tensor:
        """Cut it out of (..., scale * h, scale * w)."""
        rows = slice(self.rows.start * scale, self.rows.stop * scale)
        columns = slice(self.columns.start * scale, self.columns.stop * scale)
        return image[..., rows, columns]


@dataclass(frozen=True)
class Tiling:
    """How a frame is cut, and put together again.

    Neighbouring tiles overlap. A network knows least near the edges of a tile: the outer three
    eighths of an overlap are not used, and in the quarter between the tiles are blended.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the frame in LR pixels.
    tile_px : int
        Side of a tile, at least twice the overlap; a frame that fits is one tile.
    overlap_px : int
        Of neighbours.
    multiple_px : int
        Every tile begins at a multiple of this.
    """

    shape: tuple[int, int]
    tile_px: int
    overlap_px: int
    multiple_px: int = 1

    @property
    def tiles(self) -> list[Tile]:
        """Row by row."""
        return [Tile(rows, columns) for rows, columns in product(*map(self._spans, self.shape))]

    def join(self, images: list[Tensor], scale: int) -> Tensor:
        """Return the whole of (n, c, scale * h, scale * w) images of every tile."""
        tiles = self.tiles
        if len(tiles) == 1:
            return images[0]
        height, width = (scale * side for side in self.shape)
        whole = images[0].new_zeros(*images[0].shape[:2], height, width)
        weights = images[0].new_zeros(height, width)
        for tile, image in zip(tiles, images, strict=True):
            rows = self._ramp(tile.rows, self.shape[0], scale, image)
            weight = rows[:, None] * self._ramp(tile.columns, self.shape[1], scale, image)
            tile.crop(whole, scale).add_(image * weight)
            tile.crop(weights, scale).add_(weight)
        return whole / weights

    def _spans(self, side: int) -> list[slice]:
        overlap = self._whole(self.overlap_px)
        tile = max(self._whole(self.tile_px), 2 * overlap)
        step = tile - overlap
        begins = [0]
        while begins[-1] + tile < side:
            begins.append(begins[-1] + step)
        return [slice(begin, min(begin + tile, side)) for begin in begins]

    def _whole(self, px: int) -> int:
        return max(1, math.ceil(px / self.multiple_px)) * self.multiple_px

    def _ramp(self, span: slice, side: int, scale: int, like: Tensor) -> Tensor:
        n = scale * (span.stop - span.start)
        place = torch.arange(n, device=like.device, dtype=like.dtype) + 0.5
        ramp = torch.ones_like(place)
        overlap = scale * self._whole(self.overlap_px)
        if span.start > 0:
            ramp = torch.minimum(ramp, place / overlap)
        if span.stop < side:
            ramp = torch.minimum(ramp, (n - place) / overlap)
        return ((ramp - _UNUSED) / (1 - 2 * _UNUSED)).clamp(0, 1)


def tile_px_for(free_bytes: int, bytes_per_px: float, smallest_px: int) -> int:
    """Return the side of the largest square tile that memory allows.

    Parameters
    ----------
    free_bytes : int
        Memory that is free.
    bytes_per_px : float
        What a network takes for an LR pixel.
    smallest_px : int
        Not less than this.
    """
    return max(smallest_px, math.isqrt(int(_MEMORY_SHARE * free_bytes / bytes_per_px)))


@dataclass(frozen=True)
class TileDifference:
    """How far a tiled image is from the untiled one, in units of the image.

    Parameters
    ----------
    largest, rms : float
        Over the pixels.
    """

    largest: float
    rms: float


def tile_difference(run: Callable[[Tile], Tensor], tiling: Tiling, scale: int) -> TileDifference:
    """Compare a tiled image with the untiled one.

    Parameters
    ----------
    run : callable
        Gives the (n, c, scale * h, scale * w) image of a tile.
    tiling : Tiling
        How to cut.
    scale : int
        Fused pixels along an LR pixel.
    """
    height, width = tiling.shape
    whole = run(Tile(slice(0, height), slice(0, width)))
    apart = tiling.join([run(tile) for tile in tiling.tiles], scale) - whole
    return TileDifference(float(apart.abs().max()), float(apart.square().mean().sqrt()))
