"""A network led over a sequence: what belongs to one frame is done once for all its windows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from xfusion_bluesky.backends.contract import FusedFrame
from xfusion_bluesky.backends.kept import LastUsed
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.nn.alignment import FrameFeatures, joined
from xfusion_bluesky.nn.frames import NetworkFrames
from xfusion_bluesky.nn.fused import Fused
from xfusion_bluesky.nn.placement import Placement, free_bytes
from xfusion_bluesky.nn.tiling import Tiling, tile_px_for
from xfusion_bluesky.nn.window import Window, WindowNetwork, window_of

__all__ = ["OVERLAP_PX", "SequenceFusion"]

OVERLAP_PX = 32
"""LR pixels that neighbouring tiles share."""

_LOG = logging.getLogger(__name__)
_SMALLEST_TILE_PX = 2 * OVERLAP_PX
_CUDA_BATCH = 4

_Key = tuple[bool, int, int]


class SequenceFusion:
    """One network, one sequence, one device; memory is bounded by a window, not the sequence.

    Parameters
    ----------
    network : WindowNetwork and nn.Module
        Moved to the device.
    sequence : DualSequence
        The burst.
    intensities : str
        As for `NetworkFrames`.
    placement : Placement
        Where and how to compute.
    tile_px : int
        Largest side of a tile in LR pixels; 0: as memory allows.
    """

    def __init__(
        self,
        network: WindowNetwork,
        sequence: DualSequence,
        intensities: str,
        placement: Placement,
        tile_px: int,
    ) -> None:
        self._network, self._sequence = network, sequence
        self._frames = NetworkFrames(sequence, intensities, network.multiple_px)
        self._placement, self._tile_px = placement, tile_px
        self._place()

    def frames(self, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the frame of each target, in their order."""
        todo = list(targets)
        while todo:
            some, todo = todo[: self._batch], todo[self._batch :]
            windows = {t: self._window(t) for t in some if self._sequence.lr_mask(t).any()}
            made = dict(zip(windows, self._fused(list(windows.values())), strict=True))
            for target in some:
                if target in made:
                    yield self._frame(windows[target], made[target])
                else:
                    nothing = np.full(self._sequence.shape, np.nan, dtype=np.float32)
                    yield FusedFrame(target, nothing, diagnostics={"masked": 1.0})

    def _window(self, target: int) -> Window:
        network = self._network
        return window_of(self._sequence, target, network.lr_frames, network.hr_frames)

    def _place(self) -> None:
        """Move the network to its device and choose tiles that fit there."""
        device, shape = self._placement.device, self._frames.shape
        # Convolutions are faster with the channels of a pixel side by side.
        cast(nn.Module, self._network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        free = free_bytes(device)
        wanted = self._tile_px or tile_px_for(free, self._network.bytes_per_px, _SMALLEST_TILE_PX)
        if wanted * wanted >= shape[0] * shape[1] and not self._tile_px:
            wanted = max(shape)
        self._tiling = Tiling(shape, wanted, OVERLAP_PX, self._network.tile_multiple_px)
        self._tiles = self._tiling.tiles
        whole_bytes = self._network.bytes_per_px * shape[0] * shape[1]
        fit = int(free / (2 * whole_bytes)) if device.type == "cuda" else 1
        self._batch = 1 if len(self._tiles) > 1 else min(max(fit, 1), _CUDA_BATCH)
        in_use = self._network.lr_frames + self._network.hr_frames + self._batch
        self._features: LastUsed[_Key, FrameFeatures] = LastUsed(
            self._make_features, in_use * len(self._tiles)
        )

    def _fused(self, windows: list[Window]) -> list[Fused]:
        while windows:
            try:
                with torch.inference_mode(), self._placement.arithmetic():
                    if self._batch > 1:
                        return self._together(windows)
                    return [self._tiled(window) for window in windows]
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                why = str(error).splitlines()[0]
            # Not in the handler: the error keeps alive what has to be freed.
            self._retreat(why)
        return []

    def _together(self, windows: list[Window]) -> list[Fused]:
        lr, hr = self._network.lr_frames, self._network.hr_frames
        slots = [[(False, w.lr[k], 0) for w in windows] for k in range(lr)]
        slots += [[(True, w.hr[k], 0) for w in windows] for k in range(hr)]
        frames = [joined([self._features.get(key) for key in keys]) for keys in slots]
        targets = torch.cat([self._frames.lr(window.target) for window in windows])
        fused = self._network.fuse(frames, self._on_device(targets))
        return [
            Fused(
                fused.image[k : k + 1],
                None if fused.scores is None else fused.scores[k : k + 1],
                None if fused.shares is None else fused.shares[k : k + 1],
            )
            for k in range(len(windows))
        ]

    def _tiled(self, window: Window) -> Fused:
        image = self._frames.lr(window.target)
        fused = []
        for place, tile in enumerate(self._tiles):
            keys = [(False, i, place) for i in window.lr] + [(True, j, place) for j in window.hr]
            frames = [self._features.get(key) for key in keys]
            fused.append(self._network.fuse(frames, self._on_device(tile.crop(image))))
        if len(fused) == 1:
            return fused[0]
        areas = [f.image.shape[-2] * f.image.shape[-1] for f in fused]
        return Fused(
            self._tiling.join([f.image.float() for f in fused], SCALE),
            _mean([f.scores for f in fused], areas),
            _mean([f.shares for f in fused], areas),
        )

    def _make_features(self, key: _Key) -> FrameFeatures:
        is_hr, number, place = key
        tile = self._tiles[place]
        if is_hr:
            image = tile.crop(self._frames.hr(number), SCALE)
            return self._network.hr_features(self._on_device(image))
        return self._network.lr_features(self._on_device(tile.crop(self._frames.lr(number))))

    def _on_device(self, image: Tensor) -> Tensor:
        return image.to(self._placement.device)

    def _retreat(self, why: str) -> None:
        """Take less memory, or another device.

        Raises
        ------
        MemoryError
            If nothing is left to try.
        """
        device = self._placement.device
        del self._features
        if device.type == "cuda":
            torch.cuda.empty_cache()
        used = max(tile.rows.stop - tile.rows.start for tile in self._tiles)
        used = max(used, *(tile.columns.stop - tile.columns.start for tile in self._tiles))
        if used > _SMALLEST_TILE_PX:
            self._tile_px = max(used // 2, _SMALLEST_TILE_PX)
            _LOG.warning("%s is out of memory (%s): tiles of %d px", device, why, self._tile_px)
        elif device.type == "cuda":
            self._placement, self._tile_px = Placement.choose("cpu", "auto"), 0
            _LOG.warning("%s is out of memory (%s): going on with the CPU", device, why)
        else:
            raise MemoryError(
                f"not even tiles of {_SMALLEST_TILE_PX} LR pixels fit into memory ({why}); end "
                f"other programs or take a smaller network; the raw data are untouched"
            )
        self._place()

    def _frame(self, window: Window, fused: Fused) -> FusedFrame:
        scores = {}
        if fused.scores is not None:
            names = [f"score_lr{k - len(window.lr) // 2:+d}" for k in range(len(window.lr))]
            names += ["score_hr_before", "score_hr_after"][: len(window.hr)]
            scores = dict(zip(names, fused.scores[0].tolist(), strict=True))
        if len(self._tiles) > 1:
            scores["tiles"] = float(len(self._tiles))
        return FusedFrame(
            target=window.target,
            image=self._frames.image(fused.image, of_hr=bool(window.hr)),
            attention=None if fused.shares is None else _attention(window, fused.shares[0]),
            diagnostics=scores,
        )


def _attention(window: Window, shares: Tensor) -> tuple[float, float, float]:
    """Share of the HR frame before, the one after, and neither."""
    every = shares.double().tolist()
    neither = sum(every[: len(window.lr)])
    if not window.hr:
        return 0.0, 0.0, 1.0
    before, after = every[len(window.lr) :]
    if not window.has_after:
        return before + after, 0.0, neither
    if not window.has_before:
        return 0.0, before + after, neither
    return before, after, neither


def _mean(values: list[Tensor | None], areas: list[int]) -> Tensor | None:
    there = [value * area for value, area in zip(values, areas, strict=True) if value is not None]
    return sum(there[1:], there[0]) / sum(areas) if there else None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
