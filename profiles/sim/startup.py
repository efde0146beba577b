"""Interactive start-up at the simulated beamline: `ipython -i profiles/sim/startup.py`.

Start the beamline first with `xfusion-bluesky sim start`. Afterwards `RE`, `dual`, `shutter`,
`sample` and the plans are in the namespace.
"""

import os
from pathlib import Path

from xfusion_bluesky.beamline import connect_beamline
from xfusion_bluesky.configuration import FILE_NAME, Configuration
from xfusion_bluesky.plans import dark_flat, dual_burst  # noqa: F401 - for the operator
from xfusion_bluesky.simulation import Simulation


def start():
    """Connect to the simulated beamline of the folder `XFUSION_FOLDER` (default: here)."""
    folder = Path(os.environ.get("XFUSION_FOLDER", "."))
    file = folder / FILE_NAME
    configuration = Configuration.load(file) if file.exists() else Configuration().located(folder)
    simulation = Simulation.running(configuration.folders.state)
    if simulation is None:
        raise SystemExit("No simulated beamline runs here; start it: xfusion-bluesky sim start")
    os.environ.update(simulation.environment)
    return connect_beamline(configuration)


if __name__ == "__main__":
    beamline = start()
    RE = beamline.RE
    dual, shutter, sample = beamline.dual, beamline.shutter, beamline.sample
