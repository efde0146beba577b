"""``python -m xfusion_simulators CONFIG.json``: serve one simulated beamline."""

import argparse
import logging
import sys
from pathlib import Path

from .configuration import BeamlineConfig
from .ioc.serve import serve


def main(arguments: list[str] | None = None) -> int:
    """Run the IOC process; returns its exit status."""
    parser = argparse.ArgumentParser(prog="xfusion_simulators", description=__doc__)
    parser.add_argument("config", type=Path, help="a BeamlineConfig as JSON")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    try:
        config = BeamlineConfig.model_validate_json(options.config.read_text())
        serve(config, with_parent=options.with_parent)
    except (OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
