"""Weights that a parameter names by their path, and what is in the file: that makes the result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["pinned", "sha256_of"]

_FILES = 64


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read again only when the file has changed.

    Raises
    ------
    OSError
        The file is not there, or cannot be read.
    """
    found = path.stat()
    # The time of the last change of anything: who copies a file can keep its other times.
    return _sha256(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def pinned(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a trained backend with the SHA-256 of its weights among them.

    They are then those that ``--weights FILE`` gives: a file that is replaced makes another
    reconstruction, and the backend refuses what was replaced after this.

    Parameters
    ----------
    parameters : mapping
        Perhaps with ``weights``, the path of a file. They are returned as they are where they say
        the SHA-256 themselves, and where there is no such file, which the backend complains about.
    """
    weights = parameters.get("weights")
    if not isinstance(weights, str) or not weights or parameters.get("sha256"):
        return parameters
    try:
        path = Path(weights).expanduser().resolve()
        return {**parameters, "weights": str(path), "sha256": sha256_of(path)}
    except (OSError, RuntimeError, ValueError):
        return parameters


@lru_cache(_FILES)
def _sha256(path: Path, size: int, mtime_ns: int, ctime_ns: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
