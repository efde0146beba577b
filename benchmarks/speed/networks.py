"""Time, multiply-adds, memory and accuracy of the published networks, reused and per window.

Run it with `python benchmarks/speed/networks.py`; it prints a table. Weights are random: they
change neither time nor memory. "Reused" leads the network over a burst as its backend does; "per
window" computes every frame of every window anew. Both are timed in turn on the same targets, so
that other programs slow both. On CUDA, times are those of a device that has finished.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from xfusion_edvr.network import EDVR, EDVRSize
from xfusion_swin_xvr.network import SwinXVR, SwinXVRSize

from xfusion_bluesky.fusion.operators import SCALE, block_mean
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.nn.placement import Placement
from xfusion_bluesky.nn.streaming import OVERLAP_PX, SequenceFusion
from xfusion_bluesky.nn.tiling import Tile, Tiling, tile_difference
from xfusion_bluesky.nn.window import Window, WindowNetwork, window_of

NETWORKS: dict[str, Callable[[], WindowNetwork]] = {
    "edvr": lambda: EDVR(EDVRSize(hr_frames=0)),
    "edvr-stf": lambda: EDVR(EDVRSize()),
    "swin-xvr": lambda: SwinXVR(SwinXVRSize()),
}
HR_INTERVAL = 20


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    placement = Placement.choose(options.device, options.precision)
    sequence = burst(options.height, options.width, options.targets + 2)
    print(
        f"{options.height} x {options.width}, an HR frame every {HR_INTERVAL}, {options.targets} "
        f"targets, {placement.device} in {placement.precision}, {options.threads} threads\n"
    )
    print(
        "| network | G multiply-adds, per window | reused | ratio | s a frame, per window | reused "
        "| ratio | peak memory | PSNR of this precision to fp32 | tiles: largest, rms / deviation |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.networks:
        torch.manual_seed(0)
        network = NETWORKS[name]()
        cast(nn.Module, network).eval().requires_grad_(False)
        print(_line(name, network, sequence, placement, options), flush=True)


def burst(height: int, width: int, n: int) -> DualSequence:
    """Return blobs that move over a texture, with HR frames at both ends and between."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((height, width), dtype=np.float32)
    texture = 0.7 + 0.1 * rng.standard_normal((height, width), dtype=np.float32)
    places, speeds = rng.uniform((0, 0), (height, width), (20, 2)), rng.uniform(-2, 2, (20, 2))
    scene = np.empty((n, height, width), dtype=np.float32)
    for t in range(n):
        scene[t] = texture
        for place, speed in zip(places, speeds, strict=True):
            row, column = (place + t * speed) % (height, width)
            scene[t] -= 0.4 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 100)
    at = sorted({*range(0, n, HR_INTERVAL), n - 1})
    return DualSequence.from_arrays(block_mean(scene), scene[at], np.arange(n), at)


def _line(
    name: str,
    network: WindowNetwork,
    sequence: DualSequence,
    placement: Placement,
    options: argparse.Namespace,
) -> str:
    of_window, of_reused = multiply_adds(name, *sequence.lr_shape)
    fusion = SequenceFusion(network, sequence, "unit", placement, 0)
    # The first target warms up; the last frame of all is only a neighbour.
    frames = fusion.frames(range(options.targets + 1))
    next(frames)
    reused_s, window_s = [], []
    for target in range(1, options.targets + 1):
        reused_s.append(_seconds(lambda: next(frames), placement))
        if target <= options.windows:
            chosen = window_of(sequence, target, network.lr_frames, network.hr_frames)
            window_s.append(
                _seconds(
                    lambda chosen=chosen: fuse(network, sequence, chosen, placement), placement
                )
            )
    per_frame = [float(np.mean(window_s or [math.nan])), float(np.mean(reused_s))]
    cells = [
        name,
        f"{of_window / 1e9:.0f}",
        f"{of_reused / 1e9:.0f}",
        f"{of_window / of_reused:.2f}",
        *(f"{seconds:.4g}" for seconds in per_frame),
        f"{per_frame[1] / per_frame[0]:.2f}",
        f"{_peak_mb(placement):.0f} MB",
        _precision(network, sequence, placement),
        _tiles(network, sequence, placement) if options.tiles else "-",
    ]
    return f"| {' | '.join(cells)} |"


def multiply_adds(name: str, height: int, width: int) -> tuple[int, float]:
    """Count those of a window, and of a target of a long sequence."""
    with torch.device("meta"):
        network = NETWORKS[name]()
        lr, hr = torch.empty(1, 1, height, width), torch.empty(1, 1, 4 * height, 4 * width)

    def count(run: Callable[[], Any]) -> tuple[int, Any]:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            result = run()
        return counter.get_total_flops() // 2, result

    of_lr, a = count(lambda: network.lr_features(lr))
    of_hr, b = count(lambda: network.hr_features(hr)) if network.hr_frames else (0, None)
    of_fusion, _ = count(
        lambda: network.fuse([a] * network.lr_frames + [b] * network.hr_frames, lr)
    )
    of_window = network.lr_frames * of_lr + network.hr_frames * of_hr + of_fusion
    return of_window, of_lr + of_hr / HR_INTERVAL + of_fusion


def fuse(
    network: WindowNetwork, sequence: DualSequence, window: Window, placement: Placement
) -> Tensor:
    """Fuse one window with nothing kept."""

    def tensor(image: Any) -> Tensor:
        return torch.from_numpy(image.copy())[None, None].to(placement.device)

    with torch.inference_mode(), placement.arithmetic():
        frames = [network.lr_features(tensor(sequence.lr(i))) for i in window.lr]
        frames += [network.hr_features(tensor(sequence.hr(j))) for j in window.hr]
        return network.fuse(frames, tensor(sequence.lr(window.target))).image.float()


def _seconds(work: Callable[[], object], placement: Placement) -> float:
    begin = time.perf_counter()
    work()
    if placement.device.type == "cuda":
        torch.cuda.synchronize(placement.device)
    return time.perf_counter() - begin


def _precision(network: WindowNetwork, sequence: DualSequence, placement: Placement) -> str:
    if placement.precision == "fp32":
        return "-"
    window = window_of(sequence, 1, network.lr_frames, network.hr_frames)
    exact = fuse(network, sequence, window, Placement(placement.device, "fp32"))
    error = (fuse(network, sequence, window, placement) - exact).square().mean().item()
    return f"{-10 * math.log10(error):.1f} dB"


def _tiles(network: WindowNetwork, sequence: DualSequence, placement: Placement) -> str:
    window = window_of(sequence, 1, network.lr_frames, network.hr_frames)

    def run(tile: Tile) -> Tensor:
        def cut(image: Any, scale: int) -> Tensor:
            cropped = tile.crop(torch.from_numpy(image.copy())[None, None], scale)
            return cropped.to(placement.device)

        with torch.inference_mode(), placement.arithmetic():
            frames = [network.lr_features(cut(sequence.lr(i), 1)) for i in window.lr]
            frames += [network.hr_features(cut(sequence.hr(j), SCALE)) for j in window.hr]
            return network.fuse(frames, cut(sequence.lr(window.target), 1)).image.float()

    shape = sequence.lr_shape
    apart = tile_difference(
        run, Tiling(shape, max(shape) // 2, OVERLAP_PX, network.tile_multiple_px), SCALE
    )
    deviation = fuse(network, sequence, window, placement).std().item()
    return f"{apart.largest / deviation:.2g}, {apart.rms / deviation:.2g}"


def _peak_mb(placement: Placement) -> float:
    if placement.device.type == "cuda":
        return torch.cuda.max_memory_allocated(placement.device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--height", type=int, default=400, help="of the fused image, px")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--windows", type=int, default=4, help="targets also made per window")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tiles", action="store_true", help="also compare with tiled images")
    return parser.parse_args()


if __name__ == "__main__":
    main()
