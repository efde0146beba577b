"""Time from closed burst files to the first fused frame readable in Tiled, bicubic alone.

Run it with `python benchmarks/speed/first_frame.py`; it runs the demonstration a few times and
prints a table.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from xfusion_bluesky.configuration import FILE_NAME
from xfusion_bluesky.demo import demonstration

REPEATS = 3


def first_frame_s(folder: Path) -> float:
    (folder / FILE_NAME).write_text('[reconstruction]\nbackends = ["bicubic"]\n')
    with demonstration(folder, keep=False) as result:
        return result.first_fused_s


def main() -> None:
    # One process each: the EPICS client of a process keeps to its first beamline.
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        seconds = []
        for _ in range(REPEATS):
            with tempfile.TemporaryDirectory() as name:
                seconds.append(pool.apply(first_frame_s, (Path(name),)))
    print(f"| first fused frame, {REPEATS} bursts | ", end="")
    print(f"min {min(seconds):.1f} s, median {statistics.median(seconds):.1f} s, ", end="")
    print(f"max {max(seconds):.1f} s |")


if __name__ == "__main__":
    main()
