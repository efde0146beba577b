"""Many documents through the callback while the service that writes them is killed again and again.

    python benchmarks/reliability/many_documents.py [--documents 100000] [--runs 20] [--kills 5]

Prints what was lost and what was doubled (both must be 0), and how long it took; exit code 1 else.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from event_model import compose_run

from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.configuration import Configuration, template
from xfusion_bluesky.processing.callback import ReconstructionCallback
from xfusion_bluesky.processing.ledger import Ledger
from xfusion_bluesky.processing.service import ServiceProcess
from xfusion_bluesky.processing.tiled_server import TiledServer


def emit(callback: ReconstructionCallback, documents: int) -> str:
    """Emit a run of so many documents: start, descriptor, events, stop."""
    run = compose_run(metadata={"plan_name": "many"})
    callback("start", run.start_doc)
    number = {"source": "benchmark", "dtype": "number", "shape": []}
    array = {"source": "benchmark", "dtype": "array", "shape": [4], "dtype_numpy": "<i8"}
    descriptor = run.compose_descriptor("primary", {"x": number, "times_ns": array})
    callback("descriptor", descriptor.descriptor_doc)
    for k in range(documents - 3):
        data = {"x": float(k), "times_ns": np.arange(k, k + 4)}
        callback("event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0)))
    callback("stop", run.compose_stop())
    return str(run.start_doc["uid"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000, help="in all")
    parser.add_argument("--runs", type=int, default=20, help="that they are spread over")
    parser.add_argument("--kills", type=int, default=5, help="of the service, by SIGKILL")
    parser.add_argument("--limit-s", type=float, default=1800.0, help="longest wait for the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sys.exit(measure(Path(name), options))


def measure(root: Path, options: argparse.Namespace) -> int:
    (root / "xfusion.toml").write_text(template())
    folders = Configuration.load(root / "xfusion.toml").folders
    for each in (folders.raw, folders.processed, folders.journal, folders.state):
        each.mkdir()
    per_run = options.documents // options.runs
    with TiledServer.start(folders.state / "tiled", [folders.raw, folders.processed]) as server:
        callback = ReconstructionCallback(folders.journal)
        uids: list[str] = []
        begin_s = time.monotonic()
        emit_s: list[float] = []

        def acquire() -> None:
            for _ in range(options.runs):
                uids.append(emit(callback, per_run))
            emit_s.append(time.monotonic() - begin_s)

        threading.Thread(target=acquire, name="acquisition").start()
        ledger = Ledger(folders.state)
        kills = 0
        service = ServiceProcess.start(root / "xfusion.toml")
        try:
            while not (emit_s and ledger.in_tiled() >= set(uids)):
                if time.monotonic() - begin_s > options.limit_s:
                    print(f"after {options.limit_s:g} s not everything is in Tiled")
                    return 1
                # Spread over the work: each kill comes after its share of the runs.
                arrived = len(ledger.in_tiled())
                if kills < options.kills and arrived >= kills * options.runs // options.kills:
                    time.sleep(0.2)
                    os.kill(service.pid, signal.SIGKILL)
                    service.stop()
                    kills += 1
                    service = ServiceProcess.start(root / "xfusion.toml")
                time.sleep(0.05)
        finally:
            service.stop()
            ledger.close()
        total_s = time.monotonic() - begin_s
        catalog = Catalog(connect(server.uri, api_key=server.api_key))
        try:
            lost, doubled = compare(catalog, uids, per_run - 3)
        finally:
            catalog.close()
    print(f"documents       {per_run * options.runs} in {options.runs} runs")
    print(f"service killed  {kills} times")
    print(f"emitted in      {emit_s[0]:.1f} s; all in Tiled after {total_s:.1f} s")
    print(f"lost            {lost}")
    print(f"doubled         {doubled}")
    return int(bool(lost or doubled))


def compare(catalog: Catalog, uids: list[str], events: int) -> tuple[int, int]:
    """Return how many events are lost and how many are there more than once."""
    lost = doubled = 0
    for uid in uids:
        stream = catalog.raw[uid]["primary"]
        numbers = np.asarray(stream.base["internal"].read()["seq_num"])
        arrays = np.asarray(stream["times_ns"].read())[:, 0]
        for found, wanted in (
            (numbers, np.arange(1, events + 1)),
            (arrays, np.arange(events)),
        ):
            lost += len(np.setdiff1d(wanted, found))
            doubled += len(found) - len(np.unique(found))
    lost += abs(len(list(catalog.raw)) - len(uids))
    return lost, doubled


if __name__ == "__main__":
    main()
