"""A network led over a sequence: windows at ends and gaps, memory that runs out, precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.nn.alignment import FrameFeatures
from xfusion_bluesky.nn.frames import NetworkFrames
from xfusion_bluesky.nn.fused import Fused
from xfusion_bluesky.nn.placement import Placement, free_bytes, has_bf16
from xfusion_bluesky.nn.streaming import SequenceFusion
from xfusion_bluesky.nn.tiling import Tile, Tiling, tile_difference, tile_px_for
from xfusion_bluesky.nn.window import window_of

CPU = Placement(torch.device("cpu"), "fp32")


class Upsampling(nn.Module):
    """Nearest neighbours and the mean of the HR frames; memory for so many pixels at a time."""

    lr_frames, hr_frames, multiple_px, tile_multiple_px = 3, 2, 1, 8
    bytes_per_px = 1.0

    def __init__(self, memory_px: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.memory_px, self.error = memory_px, error
        self.largest_px = 0

    def lr_features(self, image: Tensor) -> FrameFeatures:
        px = image.shape[-1] * image.shape[-2]
        if px > self.memory_px:
            raise self.error("DefaultCPUAllocator: can't allocate memory: 99 bytes")
        self.largest_px = max(self.largest_px, px)
        return FrameFeatures((image,))

    def hr_features(self, image: Tensor) -> FrameFeatures:
        return FrameFeatures((image,))

    def fuse(self, frames: list[FrameFeatures], target: Tensor) -> Fused:
        image = functional.interpolate(target, scale_factor=4.0)
        return Fused(image + (frames[3].levels[0] + frames[4].levels[0]) / 2)


def movie(lr_shape: tuple[int, int] = (70, 130), n: int = 3, **options: object) -> DualSequence:
    rng = np.random.default_rng(0)
    lr = rng.random((n, *lr_shape), dtype=np.float32)
    hr = rng.random((2, 4 * lr_shape[0], 4 * lr_shape[1]), dtype=np.float32)
    return DualSequence.from_arrays(lr, hr, np.arange(n), np.array([0.0, n - 1.0]), **options)  # type: ignore[arg-type]


def fused(network: Upsampling, sequence: DualSequence) -> list[np.ndarray]:
    fusion = SequenceFusion(network, sequence, "unit", CPU, 0)
    return [frame.image for frame in fusion.frames(range(sequence.n_lr))]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_when_memory_runs_out_tiles_are_halved_until_they_fit(error: type[Exception]) -> None:
    sequence = movie()
    expected, network = fused(Upsampling(10**9), sequence), Upsampling(5000, error)

    made = fused(network, sequence)

    assert network.largest_px <= 5000
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_when_not_even_the_smallest_tiles_fit_it_says_what_to_do() -> None:
    with pytest.raises(MemoryError, match="not even tiles of 64 LR pixels fit"):
        fused(Upsampling(100), movie())


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    class Broken(Upsampling):
        def fuse(self, frames: list[FrameFeatures], target: Tensor) -> Fused:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        fused(Broken(10**9), movie())


def test_windows_stop_at_ends_and_gaps() -> None:
    sequence = movie((2, 2), 6, lr_valid=[True, True, False, True, True, True])

    lr = [window_of(sequence, target, 5, 2).lr for target in (0, 3, 5)]

    assert lr == [(0, 0, 0, 1, 1), (1, 3, 3, 4, 5), (3, 4, 5, 5, 5)]
    assert window_of(sequence, 0, 3, 0).hr == ()
    last = window_of(sequence, 5, 3, 2)
    assert (last.hr, last.has_before, last.has_after) == ((1, 1), True, False)


def test_a_constant_sequence_and_frames_smaller_than_their_padding_are_taken() -> None:
    lr, hr = np.full((2, 1, 5), 0.7, np.float32), np.full((1, 4, 20), 0.7, np.float32)
    sequence = DualSequence.from_arrays(lr, hr, [0, 1], [0])

    frames = NetworkFrames(sequence, "percentiles", 4)

    assert frames.shape == (4, 8)
    image = functional.interpolate(frames.lr(0), scale_factor=4.0)
    np.testing.assert_allclose(frames.image(image, of_hr=True), hr[0], rtol=1e-6)


@pytest.mark.parametrize("tile_px", [24, 40, 64, 200])
def test_tiles_cover_a_frame_and_join_without_a_seam(tile_px: int) -> None:
    tiling = Tiling((50, 71), tile_px, 16, 8)
    image = torch.rand(1, 1, 50, 71)

    def run(tile: Tile) -> Tensor:
        return functional.interpolate(tile.crop(image), scale_factor=4.0)

    assert all(t.rows.start % 8 == 0 and t.columns.start % 8 == 0 for t in tiling.tiles)
    assert tile_difference(run, tiling, 4).largest < 1e-6


def test_tiles_are_as_large_as_memory_allows() -> None:
    assert tile_px_for(10**9, 60_000.0, 64) == 100
    assert tile_px_for(0, 60_000.0, 64) == 64
    assert free_bytes(torch.device("cpu")) > 0


def test_bf16_is_for_cpus_that_have_it() -> None:
    assert has_bf16("processor : 0\nflags : fpu avx512f avx512_bf16 amx_tile\n")
    assert has_bf16("Features : fp asimd bf16\n")
    assert not has_bf16("flags : fpu avx512f avx512_vnni\n")
    assert not has_bf16("model name : bf16 wishes\n")
    if has_bf16():
        assert Placement.choose("cpu", "bf16").precision == "bf16"
    else:
        with pytest.raises(ValueError, match="use fp32"):
            Placement.choose("cpu", "bf16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives(tmp_path: Path) -> None:
    sequence = movie((20, 30))
    cuda = SequenceFusion(Upsampling(10**9), sequence, "unit", Placement.choose("cuda", "fp32"), 0)

    made = [frame.image for frame in cuda.frames(range(3))]

    np.testing.assert_allclose(made, fused(Upsampling(10**9), sequence), atol=1e-5)
