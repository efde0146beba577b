"""Time and memory of each backend at 400 x 1024, beside reference work of the same minutes.

Run it with `python benchmarks/speed/backends.py`; it prints a table. Each backend runs in a process
of its own: reference work, the backend, reference work again. Other programs and the clock of the
processor slow both; the ratio is what can be compared between machines and days.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.noise import NoiseModel, poisson
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence

HEIGHT, WIDTH = 400, 1024
HR_INTERVAL = 20
BLANK_PHOTONS = 5e3
REPEATS = 9
_GEMM = 2048
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")


def main() -> int:
    options = _options()
    if options.child:
        print(json.dumps(measure(options.child, options.frames, options.targets)))
        return 0
    names = options.backends or Registry.discover().available()
    print(
        f"{HEIGHT} x {WIDTH}, {options.frames} LR frames, an HR frame every {HR_INTERVAL}, "
        f"{options.targets} targets, {options.threads} threads\n"
    )
    print(
        "| backend | a frame, amortised | median | quartiles | first frame | mean / GEMM "
        "| median / cv2 bicubic | peak memory | of it while fusing |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    failed = 0
    references: list[dict[str, Any]] = []
    for name in names:
        result = _in_child(name, options)
        if result is None:
            failed = 1
            continue
        references.append(result)
        print(_line(name, result), flush=True)
    for key, words in (("gemm_ms", f"GEMM of {_GEMM}, float32"), ("cv2_ms", "cv2 bicubic")):
        values = [r[key] for r in references if r[key] is not None]
        if values:
            low, middle, high = np.percentile(values, (0, 50, 100))
            print(f"\n{words}: {middle:.3g} ms, {low:.3g} to {high:.3g} ms over the processes")
    return failed


def measure(name: str, frames: int, targets: int) -> dict[str, Any]:
    """Run one backend in this process, and the reference work before and after it."""
    sequence = burst(frames)
    backend = Registry.discover().create(name)
    first = max(0, (frames - targets) // 2)
    chosen = range(first, min(frames, first + targets))
    before = _references()
    fresh_mb = _forget_peak()
    elapsed_ms = [timed.elapsed_ms for timed in checked_frames(backend, sequence, chosen)]
    peak_mb = _memory_mb()
    after = _references()
    low, median, high = np.percentile(elapsed_ms, (25, 50, 75))
    return {
        "mean_ms": float(np.mean(elapsed_ms)),
        "median_ms": float(median),
        "quartiles_ms": [float(low), float(high)],
        "first_ms": elapsed_ms[0],
        "peak_mb": peak_mb,
        "added_mb": peak_mb - fresh_mb,
        **{
            key: None if before[key] is None else float(np.mean([before[key], after[key]]))
            for key in before
        },
    }


def burst(frames: int) -> DualSequence:
    """Return dark blobs that move over a resting texture, with photon noise on the LR frames."""
    rng = np.random.default_rng(0)
    rows, columns = np.arange(HEIGHT)[:, None], np.arange(WIDTH)[None, :]
    texture = 0.7 + 0.05 * rng.standard_normal((HEIGHT, WIDTH))
    places = rng.uniform((0, 0), (HEIGHT, WIDTH), (30, 2))
    speeds, radii = rng.uniform(-2, 2, (30, 2)), rng.uniform(3, 20, 30)

    def scene(t: int) -> npt.NDArray[np.float32]:
        image = texture.copy()
        for place, speed, radius in zip(places, speeds, radii, strict=True):
            row, column = (place + t * speed) % (HEIGHT, WIDTH)
            image -= (
                0.3
                * np.exp(-((rows - row) ** 2) / (2 * radius**2))
                * np.exp(-((columns - column) ** 2) / (2 * radius**2))
            )
        return np.clip(image, 0.01, 1).astype(np.float32)

    lr = np.empty((frames, HEIGHT // 4, WIDTH // 4), dtype=np.float32)
    hr = []
    for t in range(frames):
        image = scene(t)
        lr[t] = poisson(block_mean(image), BLANK_PHOTONS, rng)
        if t % HR_INTERVAL == 0 or t == frames - 1:
            hr.append((t, image))
    return DualSequence.from_arrays(
        lr,
        np.stack([image for _, image in hr]),
        1000 * np.arange(frames),
        [1000 * t for t, _ in hr],
        noise=NoiseModel.from_blank_photons(BLANK_PHOTONS),
    )


def _references() -> dict[str, float | None]:
    rng = np.random.default_rng(0)
    square = rng.random((_GEMM, _GEMM), dtype=np.float32)
    found: dict[str, float | None] = {"gemm_ms": _median_ms(lambda: square @ square)}
    try:
        import cv2
    except ImportError:
        found["cv2_ms"] = None
        return found
    small = rng.random((HEIGHT // 4, WIDTH // 4), dtype=np.float32)
    found["cv2_ms"] = _median_ms(
        lambda: cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    )
    return found


def _median_ms(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - begin))
    return float(np.median(times))


def _forget_peak() -> float:
    """Let the peak begin anew where the system can, and return the memory in use, MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory_mb("VmRSS:")


def _memory_mb(key: str = "VmHWM:") -> float:
    # What getrusage tells of a child may be the peak of its parent; the kernel's table is its own.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _in_child(name: str, options: argparse.Namespace) -> dict[str, Any] | None:
    threads = {f"{each}_NUM_THREADS": str(options.threads) for each in _THREADS}
    command = [sys.executable, __file__, "--child", name]
    command += ["--frames", str(options.frames), "--targets", str(options.targets)]
    command += ["--threads", str(options.threads)]
    done = subprocess.run(
        command,
        env={**os.environ, **threads, "OPENCV_FOR_THREADS_NUM": str(options.threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{name} failed with exit code {done.returncode}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _line(name: str, result: dict[str, Any]) -> str:
    low, high = result["quartiles_ms"]
    cv2_ratio = "-" if result["cv2_ms"] is None else f"{result['median_ms'] / result['cv2_ms']:.2f}"
    return (
        f"| {name} | {result['mean_ms']:.3g} ms | {result['median_ms']:.3g} ms "
        f"| {low:.3g} to {high:.3g} ms | {result['first_ms']:.3g} ms "
        f"| {result['mean_ms'] / result['gemm_ms']:.3g} | {cv2_ratio} "
        f"| {result['peak_mb']:.0f} MB | {result['added_mb']:.0f} MB |"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--backends", nargs="+", help="ids; default: all that are installed and can run")
    add("--frames", type=int, default=121, help="LR frames of the burst")
    add("--targets", type=int, default=40, help="frames fused, in the middle of the burst")
    add("--threads", type=int, default=os.cpu_count() or 1, help="for every library")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
