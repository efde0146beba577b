"""Memory of the control process while a 300 MB burst is taken; pixels must never pass through it.

Run it with `python benchmarks/speed/burst_memory.py`; it prints a table.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import psutil
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline

ROWS, COLUMNS = 800, 1280
SCENE_FRAMES = 16
HR_FRAMES = 146


def scene(path: Path) -> None:
    """Write a scene of full Phantom frames; its content does not matter here."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        frames = rng.integers(300, 1600, (SCENE_FRAMES, ROWS, COLUMNS), dtype=np.uint16)
        file.create_dataset("frames", data=frames, chunks=(1, ROWS, COLUMNS))


def peak_rss_mb(stop: threading.Event, peaks: list[float]) -> None:
    process = psutil.Process()
    while not stop.wait(0.01):
        peaks.append(process.memory_info().rss / 1e6)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene(folder / "scene.h5")
        config = BeamlineConfig(
            memory_folder=folder / "memory", scene=folder / "scene.h5", time_scale=1e-4
        )
        with SimulatedBeamline.start(config, log=folder / "sim.log") as beamline:
            os.environ.update(beamline.environment)

            from xfusion_bluesky.beamline import connect_beamline
            from xfusion_bluesky.configuration import Configuration
            from xfusion_bluesky.plans import dual_burst

            instrument = connect_beamline(Configuration().located(folder))
            stop, peaks = threading.Event(), [0.0]
            sampler = threading.Thread(target=peak_rss_mb, args=(stop, peaks))
            sampler.start()
            begin = time.monotonic()
            try:
                instrument.RE(
                    dual_burst(instrument.dual, instrument.shutter, hr_last=HR_FRAMES - 1)
                )
            finally:
                stop.set()
                sampler.join()
            seconds = time.monotonic() - begin
        size_mb = sum(file.stat().st_size for file in folder.glob("raw/*/*_0000.h5")) / 1e6
    print(f"| burst files | {size_mb:.0f} MB |")
    print(f"| plan, from start to stop document | {seconds:.1f} s |")
    print(f"| peak RSS of the control process | {max(peaks):.0f} MB |")


if __name__ == "__main__":
    main()
