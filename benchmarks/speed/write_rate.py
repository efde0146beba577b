"""Rate at which the worker writes fused frames of 800 x 1280, fsync and rename included.

Run it with `python benchmarks/speed/write_rate.py`; it prints a table.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from xfusion_bluesky.documents.processed import FrameRecord
from xfusion_bluesky.documents.raw import Burst, CameraBurst
from xfusion_bluesky.processing.jobs import ReconstructionJob
from xfusion_bluesky.processing.worker import ShardWriter

ROWS, COLUMNS, FRAMES, REPEATS = 800, 1280, 128, 5


def rate_mb_s(folder: Path) -> float:
    camera = CameraBurst(folder, "/", (1, 1, 1), (0.0,), (True,), (1,), "")
    burst = Burst({"uid": "benchmark"}, 1, camera, camera)
    writer = ShardWriter(ReconstructionJob(burst=burst, folder=folder), lambda message: None)
    image = np.random.default_rng(0).random((ROWS, COLUMNS), dtype=np.float32)
    record = FrameRecord(time_ns=0.0, elapsed_ms=0.0)
    begin = time.perf_counter()
    for _ in range(FRAMES):
        writer.add(image, record)
    writer.flush()
    return FRAMES * image.nbytes / 1e6 / (time.perf_counter() - begin)


def main() -> None:
    rates = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory(dir=".") as name:
            rates.append(rate_mb_s(Path(name).resolve()))
    print(f"{FRAMES} frames of {ROWS} x {COLUMNS} float32, {REPEATS} times")
    print(f"| MB/s | min {min(rates):.0f}, median {statistics.median(rates):.0f} |")


if __name__ == "__main__":
    main()
