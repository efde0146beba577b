"""From the name of a data set to a folder that `infer --virtual` takes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from xfusion_bluesky.datasets.checksum import record_of, verify
from xfusion_bluesky.datasets.download import download
from xfusion_bluesky.datasets.errors import BadArchive
from xfusion_bluesky.datasets.known import Dataset
from xfusion_bluesky.datasets.unpack import unpack

__all__ = ["fetch"]

_MB = 1_000_000

OnProgress = Callable[[str, int, int | None], object]
"""Told what is being done, how many bytes of it are, and how many there are."""


def fetch(
    dataset: Dataset,
    folder: Path,
    url: str | None = None,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Path:
    """Download, verify and unpack a data set; what is there already is verified and kept.

    The archive stays in `folder`, with its SHA-256 beside it.

    Parameters
    ----------
    dataset : Dataset
        Which.
    folder : Path
        Where to; it is made.
    url : str, optional
        Another address of the archive.
    on_progress : callable
        Progress.

    Returns
    -------
    Path
        The folder with ``LR`` and ``HR``.

    Raises
    ------
    FetchError
        It did not come.
    BadArchive
        What came is not what it should be; it is removed unless it was there before.
    OSError
        The disk is full, or fails otherwise.
    """
    archive, target = folder / f"{dataset.id}.zip", folder / dataset.folder_name
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _bring(dataset, archive, target, url or dataset.url, on_progress)
    except BaseException:
        if created:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        raise
    return target


def _bring(
    dataset: Dataset, archive: Path, target: Path, url: str, on_progress: OnProgress
) -> None:
    fresh, recorded = not archive.exists(), record_of(archive).exists()
    if fresh:
        largest_bytes = int(dataset.largest_archive_mb * _MB)
        download(
            url,
            archive,
            largest_bytes,
            lambda done, total: on_progress("downloading", done, total),
        )
    try:
        _verify(dataset, archive, on_progress)
        if not target.exists():
            _unpack(dataset, archive, target, on_progress)
    except BadArchive:
        if fresh:
            archive.unlink()
            if not recorded:
                record_of(archive).unlink(missing_ok=True)
        raise


def _verify(dataset: Dataset, archive: Path, on_progress: OnProgress) -> None:
    done, total = 0, archive.stat().st_size

    def advance(read: int) -> None:
        nonlocal done
        done += read
        on_progress("verifying", done, total)

    verify(archive, dataset.sha256, advance)


def _unpack(dataset: Dataset, archive: Path, target: Path, on_progress: OnProgress) -> None:
    draft = target.with_name(f".{target.name}.unpacking")
    # Of a run that was killed.
    shutil.rmtree(draft, ignore_errors=True)
    largest_bytes = int(dataset.largest_unpacked_mb * _MB)
    unpack(
        archive,
        draft,
        largest_bytes,
        lambda done, total: on_progress("unpacking", done, total),
    )
    try:
        # It appears under its name when it is complete.
        os.replace(_set_in(archive, draft), target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _set_in(archive: Path, folder: Path) -> Path:
    """Return the one folder that holds ``LR`` and ``HR``."""
    found = [
        path.parent
        for path in [folder / "HR", *folder.rglob("HR")]
        if path.is_dir() and (path.parent / "LR").is_dir()
    ]
    found = list(dict.fromkeys(found))
    if len(found) != 1:
        raise BadArchive(
            f"{archive} holds {len(found)} folders with LR and HR in them, one is expected: it is "
            "another archive. Nothing was unpacked."
        )
    return found[0]
