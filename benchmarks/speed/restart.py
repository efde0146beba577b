"""Time from `sim start` to the first fused frame of a run that waits in the journal.

Run it with `python benchmarks/speed/restart.py`. One burst is acquired while neither Tiled nor the
processing service run; then both are started, and a client waits until it can read a fused frame.
The first start of a folder also makes the catalogue; the restarts are what counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from xfusion_bluesky.catalog import Catalog, connect
from xfusion_bluesky.configuration import FILE_NAME, Configuration
from xfusion_bluesky.processing.ledger import wait_for_reconstructions
from xfusion_bluesky.processing.tiled_server import TiledServer
from xfusion_bluesky.simulation import Simulation

LIMIT_S = 120.0


def command(*arguments: str, file: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "xfusion_bluesky.cli", *arguments, "--config", str(file)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def acquire(beamline: Any) -> str:
    from xfusion_bluesky.plans import dual_burst

    return str(beamline.RE(dual_burst(beamline.dual, beamline.shutter)).plan_result)


def first_fused_s(file: Path, raw_uid: str) -> float:
    """Start the line and return when a fused frame of the run was read."""
    state = Configuration.load(file).folders.state
    begin_s = time.monotonic()
    starting = subprocess.Popen(
        [sys.executable, "-m", "xfusion_bluesky.cli", "sim", "start", "--config", str(file)],
        stdout=subprocess.DEVNULL,
    )
    while (server := TiledServer.running(state / "tiled")) is None:
        time.sleep(0.05)
    catalog = Catalog(connect(server.uri, api_key=server.api_key))
    try:
        while time.monotonic() - begin_s < LIMIT_S:
            for run in catalog.reconstructions_of(raw_uid):
                if "fused" in run and "fused" in run["fused"]:
                    run["fused"]["fused"][0]
                    return time.monotonic() - begin_s
            time.sleep(0.05)
        raise TimeoutError(f"no fused frame within {LIMIT_S:g} s")
    finally:
        catalog.close()
        starting.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--backends", default="", help="ids with commas; default: all available")
    options = parser.parse_args()
    ids = [each for each in options.backends.split(",") if each]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / FILE_NAME
        file.write_text(f"[reconstruction]\nbackends = {ids}\n")
        folders = Configuration.load(file).folders
        simulation = Simulation.start(folders.state)
        os.environ.update(simulation.environment)

        from xfusion_bluesky.beamline import connect_beamline

        beamline = connect_beamline(Configuration.load(file))
        try:
            for k in range(options.restarts + 1):
                raw_uid = acquire(beamline)
                seconds = first_fused_s(file, raw_uid)
                # What an earlier burst left undone would come first at the next start.
                wait_for_reconstructions(folders.state, raw_uid, 1, LIMIT_S)
                print(f"| {'first start' if k == 0 else f'restart {k}'} | {seconds:.1f} s |")
                for process in ("service", "tiled"):
                    stop(folders.state, process)
        finally:
            beamline.close()
            command("sim", "stop", file=file)


def stop(state: Path, process: str) -> None:
    from xfusion_bluesky.processing.service import ServiceProcess

    running = (
        ServiceProcess.running(state)
        if process == "service"
        else TiledServer.running(state / "tiled")
    )
    if running is not None:
        running.stop()


if __name__ == "__main__":
    main()
