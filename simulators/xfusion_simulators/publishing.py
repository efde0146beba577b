"""Give a complete file its final name."""

import os
from pathlib import Path


def publish(partial: Path, target: Path) -> None:
    """Bring a closed file to disk and give it its final name."""
    for path in (partial, partial.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == partial:
            os.replace(partial, target)
