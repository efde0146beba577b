"""Event times of a plan while a backend sleeps 60 s over each burst, and without any processing.

Run it with `python benchmarks/speed/sleeping_backend.py`; it prints a table.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from xfusion_bluesky.configuration import FILE_NAME, Configuration
from xfusion_bluesky.simulation import Simulation

BURSTS = 10
SLEEP_S = 60
PLUGIN = f"""
import time
from dataclasses import dataclass
import numpy as np
from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo, FusedFrame
from xfusion_bluesky.backends.hookspecs import hookimpl

@dataclass(frozen=True)
class Sleeping:
    info = BackendInfo(id="sleeping", version="1", summary="sleeps", needs_hr=False)

    def reconstruct(self, sequence, targets):
        time.sleep({SLEEP_S})
        for target in targets:
            yield FusedFrame(target, np.zeros(sequence.shape, dtype=np.float32))

@hookimpl
def xfusion_backends():
    return [BackendFactory(Sleeping.info, Sleeping)]
"""


def install(folder: Path) -> None:
    information = folder / "sleeping-1.dist-info"
    information.mkdir(parents=True)
    (folder / "sleeping_plugin.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: sleeping\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[xfusion_bluesky]\nsleeping = sleeping_plugin\n")


def intervals_ms(beamline: Any) -> np.ndarray:
    from xfusion_bluesky.plans import dual_burst

    times: list[float] = []
    token = beamline.RE.subscribe(lambda *_: times.append(time.monotonic()), "event")
    beamline.RE(dual_burst(beamline.dual, beamline.shutter, bursts=BURSTS))
    beamline.RE.unsubscribe(token)
    return 1e3 * np.diff(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        install(root / "plugins")
        os.environ["PYTHONPATH"] = str(root / "plugins")
        file = root / FILE_NAME
        file.write_text('[reconstruction]\nbackends = ["sleeping"]\n')
        simulation = Simulation.start(Configuration.load(file).folders.state)
        os.environ.update(simulation.environment)

        from xfusion_bluesky.beamline import connect_beamline
        from xfusion_bluesky.processing.servers import start_servers

        beamline = connect_beamline(Configuration.load(file))
        print("| event to event, ms | median | longest |")
        print("|---|---|---|")
        try:
            show("no processing", intervals_ms(beamline))
            server, service = start_servers(file, detached=False)
            try:
                show(f"a backend that sleeps {SLEEP_S} s", intervals_ms(beamline))
            finally:
                service.stop()
                if server is not None:
                    server.stop()
        finally:
            beamline.close()
            simulation.stop()


def show(what: str, values: np.ndarray) -> None:
    print(f"| {what} | {np.median(values):.0f} | {values.max():.0f} |")


if __name__ == "__main__":
    main()
