"""Small .npy files from elsewhere: a few numbers, and never a pickle."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.small_file import UNCHANGED, read_small
from xfusion_bluesky.fusion.arrays import Float64Array

__all__ = ["read_small_array"]

_MOST_BYTES = 1_000_000


def read_small_array(path: Path, shape: tuple[int, ...] | None) -> Float64Array:
    """Read a .npy file of finite numbers.

    Parameters
    ----------
    path : Path
        The file; nothing in it is executed.
    shape : tuple of int or None
        Which it must have; None for exactly one number in whichever shape.

    Raises
    ------
    FormatError
        It is no such file, too large, of another shape, or holds something else than numbers.
    """
    stream = io.BytesIO(read_small(path, _MOST_BYTES))
    try:
        # The header is read by itself: a few bytes may promise an array larger than memory.
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        found, _, dtype = read_header(stream)
    except Exception as error:  # readers of damaged files raise what they like
        raise _wrong(path, f"it is no .npy file ({' '.join(str(error).split())[:100]})") from error
    if (found != shape) if shape is not None else (math.prod(found) != 1):
        raise _wrong(path, f"it has the shape {found}, not {shape or 'of one number'}")
    if dtype.kind not in "fiu":
        raise _wrong(path, f"it holds {dtype}, no numbers")
    stream.seek(0)
    try:
        values = np.lib.format.read_array(stream, allow_pickle=False).astype(np.float64)
    except Exception as error:  # as above
        raise _wrong(path, f"it is cut short ({' '.join(str(error).split())[:100]})") from error
    if not np.isfinite(values).all():
        raise _wrong(path, "a number in it is not finite")
    return values


def _wrong(path: Path, why: str) -> FormatError:
    return FormatError(f"The file {path} cannot be used: {why}. {UNCHANGED}")
