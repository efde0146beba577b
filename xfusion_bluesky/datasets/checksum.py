"""Checksums of archives, kept beside them in the format of ``sha256sum``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from xfusion_bluesky.datasets.errors import BadArchive

__all__ = ["record_of", "sha256_of", "verify"]

_BLOCK_BYTES = 1 << 20
_HEX_DIGITS = 64


def sha256_of(file: Path, on_bytes: Callable[[int], object] = lambda n: None) -> str:
    """Return the SHA-256 of a file; `on_bytes` is told how many bytes were read."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def record_of(file: Path) -> Path:
    """Return the file that keeps the checksum of a file."""
    return file.with_name(file.name + ".sha256")


def verify(
    file: Path, published: str | None, on_bytes: Callable[[int], object] = lambda n: None
) -> str:
    """Hold a file against its checksum, the published one or that of the first time.

    Where there is neither, the checksum is written down for the next time.

    Parameters
    ----------
    file : Path
        An archive.
    published : str or None
        SHA-256 that it should have.
    on_bytes : callable
        As for `sha256_of`.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    BadArchive
        It has another one.
    """
    found, record = sha256_of(file, on_bytes), record_of(file)
    recorded = _recorded(record)
    for wanted, where in ((published, "the published checksum"), (recorded, str(record))):
        if wanted is not None and wanted != found:
            raise BadArchive(
                f"{file} has the SHA-256 {found}, {where} says {wanted}: it is damaged, or the "
                f"publisher has changed it. To fetch it anew remove {file.name}"
                f"{'' if published else ' and ' + record.name}. Nothing was unpacked."
            )
    if recorded is None:
        record.write_text(f"{found}  {file.name}\n", encoding="utf-8")
    return found


def _recorded(record: Path) -> str | None:
    try:
        words = record.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadArchive(f"The checksum in {record} cannot be read: {error}. Remove it.") from error
    if not words or len(words[0]) != _HEX_DIGITS:
        raise BadArchive(f"{record} holds no checksum: remove it. Nothing was unpacked.")
    return words[0].lower()
