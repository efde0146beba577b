"""Time of the reconstruction callback a document, on an idle and on a fully busy machine.

Run it with `python benchmarks/speed/callback.py`; it prints a table.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from event_model import compose_run

from xfusion_bluesky.processing.callback import ReconstructionCallback

EVENTS = 500
FRAMES = 128


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    run = compose_run(metadata={"purpose": "dual-burst"})
    yield "start", run.start_doc
    keys = {
        "shimadzu_frame_time_ns": {"source": "x", "dtype": "array", "shape": [FRAMES]},
        "phantom_frame_time_ns": {"source": "x", "dtype": "array", "shape": [FRAMES]},
        "shimadzu_sha256": {"source": "x", "dtype": "string", "shape": []},
    }
    descriptor = run.compose_descriptor(name="primary", data_keys=keys)
    yield "descriptor", descriptor.descriptor_doc
    times = np.arange(FRAMES, dtype=np.int64) * 200
    for _ in range(EVENTS):
        data = dict(zip(keys, (times, times, "0" * 64), strict=True))
        stamps = dict.fromkeys(keys, time.time())
        yield "event", descriptor.compose_event(data=data, timestamps=stamps)
    yield "stop", run.compose_stop()


def burn(niceness: int) -> None:
    os.nice(niceness)
    while True:
        np.linalg.svd(np.ones((200, 200)))


def measure() -> str:
    durations_ms = []
    with tempfile.TemporaryDirectory() as folder:
        callback = ReconstructionCallback(Path(folder))
        for name, document in documents():
            begin = time.perf_counter()
            callback(name, document)
            durations_ms.append((time.perf_counter() - begin) * 1e3)
    median, p99 = np.percentile(durations_ms, [50, 99])
    return f"median {median:.3f} ms, p99 {p99:.3f} ms, max {max(durations_ms):.3f} ms"


def beside(workers: int, niceness: int) -> str:
    """Measure while processes of a given priority compute."""
    busy = [
        multiprocessing.Process(target=burn, args=(niceness,), daemon=True) for _ in range(workers)
    ]
    for worker in busy:
        worker.start()
    try:
        return measure()
    finally:
        for worker in busy:
            worker.terminate()
            worker.join()


def main() -> None:
    cores = os.cpu_count() or 1
    print(f"{EVENTS} events with {FRAMES} frame times of two cameras, {cores} cores")
    print(f"| idle | {measure()} |")
    # The engine gives a backend all cores but one, at low priority.
    print(f"| a backend fully busy | {beside(max(1, cores - 1), 10)} |")
    print(f"| every core busy at equal priority | {beside(cores, 0)} |")


if __name__ == "__main__":
    main()
