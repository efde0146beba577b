"""Interactive start-up at the beamline of a folder: `ipython -i profiles/sim/startup.py`.

Start the simulated beamline first with `xfusion-bluesky sim start`. The folder is that of the
environment variable `XFUSION_FOLDER`, or the present one. `xfusion-bluesky console` does the same
without this file. Importing it connects nothing.
"""

import os
from pathlib import Path

from xfusion_bluesky.configuration import FILE_NAME, Configuration
from xfusion_bluesky.console import banner, namespace, open_beamline


def start() -> dict[str, object]:
    """Connect to the beamline and return the names for the prompt."""
    folder = Path(os.environ.get("XFUSION_FOLDER", "."))
    file = folder / FILE_NAME
    configuration = Configuration.load(file) if file.exists() else Configuration().located(folder)
    try:
        beamline = open_beamline(configuration)
    except ConnectionError as error:
        raise SystemExit(str(error)) from None
    print(banner(beamline))
    return namespace(beamline)


if __name__ == "__main__":
    globals().update(start())
    if "get_ipython" in globals():
        globals()["get_ipython"]().run_line_magic("load_ext", "xfusion_bluesky.console")
