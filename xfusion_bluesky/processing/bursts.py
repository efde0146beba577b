"""Where stored bursts are found: in the journal of this installation, else in Tiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from xfusion_bluesky.catalog import Catalog
from xfusion_bluesky.configuration import Folders
from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.documents.paths import UnsafePath, check_inside, local_file
from xfusion_bluesky.documents.raw import Burst, bursts_of
from xfusion_bluesky.documents.remote import documents_of_run

__all__ = ["BurstFinder", "BurstNotFound"]

_LOG = logging.getLogger(__name__)
_CACHE_FOLDER = "cache"


class BurstNotFound(LookupError):
    """A stored burst, or the reference that it names, cannot be had."""


@dataclass(frozen=True)
class BurstFinder:
    """Finds the bursts of stored raw runs.

    The journal is used where it is there and its files can be opened; otherwise Tiled says what
    the run is, and delivers the frames that are not on this machine.

    Parameters
    ----------
    folders : Folders
        Of the configuration, absolute. Files are opened only inside of the folders of raw data.
    catalog : callable
        Opens the catalogue, as a context manager; called only when it is needed.
    """

    folders: Folders
    catalog: Callable[[], AbstractContextManager[Catalog]]

    def find(self, raw_uid: str, seq_nums: Collection[int] | None = None) -> list[Burst]:
        """Return bursts of a raw run (dual burst, dark or flat), in order.

        Parameters
        ----------
        raw_uid : str
            Full uid.
        seq_nums : collection of int, optional
            Only these bursts, from 1; all of them by default.

        Raises
        ------
        BurstNotFound
            The run has not all of them, or its frames can be read neither here nor through Tiled.
        CatalogError
            Tiled is needed and does not answer, or has no such run.
        """
        found = self._in_journal(raw_uid, seq_nums)
        if not found:
            found = self._in_tiled(raw_uid, seq_nums)
        missing = set(seq_nums or ()) - {burst.seq_num for burst in found}
        if missing or not found:
            which = f"burst {', '.join(map(str, sorted(missing)))}" if missing else "burst"
            raise BurstNotFound(
                f"Run {raw_uid} has no complete {which}; 'xfusion-bluesky show' says what it has. "
                "Nothing has been changed."
            )
        return sorted(found, key=lambda burst: burst.seq_num)

    def references(self, burst: Burst) -> tuple[Burst | None, Burst | None]:
        """Return the dark and the flat that a burst names, None where it names none.

        Parameters
        ----------
        burst : Burst
            A dual burst.

        Raises
        ------
        BurstNotFound, CatalogError
            As for `find`.
        """
        dark, flat = (
            self.find(str(uid))[0] if (uid := burst.start.get(key)) else None
            for key in ("dark_uid", "flat_uid")
        )
        return dark, flat

    def _in_journal(self, raw_uid: str, seq_nums: Collection[int] | None) -> list[Burst]:
        try:
            path = journal_path(self.folders.journal, raw_uid)
            if not path.exists():
                return []
            bursts = bursts_of(read_journal(path))
        except (KeyError, ValueError) as error:
            _LOG.warning("The journal of run %s is no help, Tiled is asked: %s", raw_uid, error)
            return []
        wanted = [burst for burst in bursts if seq_nums is None or burst.seq_num in seq_nums]
        return wanted if all(self._may_open(burst) for burst in wanted) else []

    def _in_tiled(self, raw_uid: str, seq_nums: Collection[int] | None) -> list[Burst]:
        import httpx

        cache = self.folders.state / _CACHE_FOLDER
        with self.catalog() as catalog:
            run = catalog.run(raw_uid)
            try:
                return bursts_of(documents_of_run(run, cache, self._visible, seq_nums))
            except (KeyError, ValueError, OSError, httpx.HTTPError) as error:
                why = " ".join(str(error).split()) or type(error).__name__
                raise BurstNotFound(
                    f"The frames of run {raw_uid} are not in the folders of raw data of this "
                    f"machine, and Tiled does not deliver them: {why}. Bring the files back to "
                    "where they were, or see the log of the Tiled server. Nothing has been changed."
                ) from error

    def _visible(self, uri: str) -> Path | None:
        try:
            path = local_file(uri, self.folders.raw_roots)
        except UnsafePath:
            return None
        return path if path.is_file() else None

    def _may_open(self, burst: Burst) -> bool:
        try:
            check_inside(burst, self.folders.raw_roots)
        except UnsafePath:
            return False
        return burst.phantom.file.is_file() and burst.shimadzu.file.is_file()
