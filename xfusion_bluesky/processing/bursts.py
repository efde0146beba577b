"""Where stored bursts are found: in the journal of this installation, else in Tiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xfusion_bluesky.calibration.errors import CalibrationError
from xfusion_bluesky.calibration.record import CalibrationRecord
from xfusion_bluesky.catalog import Catalog
from xfusion_bluesky.configuration import Folders
from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.journal import journal_path, read_journal
from xfusion_bluesky.documents.paths import UnsafePath, check_inside, local_file
from xfusion_bluesky.documents.raw import Burst, bursts_of
from xfusion_bluesky.documents.remote import documents_of_run

__all__ = ["BurstFinder", "BurstNotFound"]

_LOG = logging.getLogger(__name__)
_CACHE_FOLDER = "cache"
_REFERENCES = ("dark_uid", "flat_uid")


class BurstNotFound(LookupError):
    """A stored burst, or what it is to be corrected with, cannot be had."""


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

    def corrections(self, burst: Burst) -> Corrections:
        """Return what a burst is corrected with: what its run names, or else its calibration.

        Parameters
        ----------
        burst : Burst
            A dual burst.

        Raises
        ------
        BurstNotFound, CatalogError
            Something that is named cannot be had.
        """
        uid = burst.start.get("calibration_uid")
        record = None if uid is None else self.calibration(str(uid))
        dark_uid, flat_uid = _reference_uids(burst, record)
        return Corrections(
            () if dark_uid is None else tuple(self.find(dark_uid)),
            () if flat_uid is None else tuple(self.find(flat_uid)),
            None if uid is None else str(uid),
            record,
        )

    def corrections_here(self, burst: Burst) -> tuple[Corrections, tuple[str, ...]]:
        """Return what a burst is corrected with as far as this machine has it; asks no server.

        Parameters
        ----------
        burst : Burst
            A dual burst.

        Returns
        -------
        Corrections
            What is here.
        tuple of str
            A sentence about each thing that is named and not here.
        """
        missing = []
        uid = burst.start.get("calibration_uid")
        record = None
        if uid is not None:
            try:
                record = self._calibration_here(str(uid))
                why = "was not found"
            except BurstNotFound as error:
                why = str(error)
            if record is None:
                missing.append(f"calibration_uid {uid}: {why}")
        found: list[tuple[Burst, ...]] = []
        for key, reference_uid in zip(_REFERENCES, _reference_uids(burst, record), strict=True):
            bursts = [] if reference_uid is None else self._in_journal(reference_uid, None)
            if reference_uid is not None and not bursts:
                missing.append(f"{key} {reference_uid}: was not found")
            found.append(tuple(bursts))
        used_uid = None if record is None else str(uid)
        return Corrections(found[0], found[1], used_uid, record), tuple(missing)

    def calibration(self, uid: str) -> CalibrationRecord:
        """Return the record of a calibration run: from its file, its journal, or Tiled.

        Parameters
        ----------
        uid : str
            Full uid of the calibration run.

        Raises
        ------
        BurstNotFound
            The run has no record, or a damaged one.
        CatalogError
            Tiled is needed and does not answer, or has no such run.
        """
        record = self._calibration_here(uid)
        if record is not None:
            return record
        with self.catalog() as catalog:
            return _record_of(catalog.calibration(uid).metadata["start"], f"the run {uid} in Tiled")

    def _calibration_here(self, uid: str) -> CalibrationRecord | None:
        for root in self.folders.raw_roots:
            try:
                file = CalibrationRecord.file(root, uid)
                if self._visible(f"file://localhost{file}") is not None:
                    return CalibrationRecord.load(file)
            except CalibrationError as error:
                raise BurstNotFound(str(error)) from error
        try:
            path = journal_path(self.folders.journal, uid)
            documents = read_journal(path) if path.exists() else ()
            start = next((document for name, document in documents if name == "start"), None)
        except (ValueError, OSError) as error:
            _LOG.warning("The journal of run %s is no help, Tiled is asked: %s", uid, error)
            return None
        return None if start is None else _record_of(start, f"the journal of run {uid}")

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


def _reference_uids(
    burst: Burst, record: CalibrationRecord | None
) -> tuple[str | None, str | None]:
    """Return uids of dark and flat; those of the calibration stand in for what a run lacks."""
    dark = burst.start.get("dark_uid") or (record and record.uid_of("dark"))
    flat = burst.start.get("flat_uid") or (record and record.uid_of("flat"))
    return (str(dark) if dark else None), (str(flat) if flat else None)


def _record_of(start: Mapping[str, Any], where: str) -> CalibrationRecord:
    try:
        return CalibrationRecord.model_validate(start.get("calibration"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(["calibration", *(str(part) for part in first["loc"])])
        raise BurstNotFound(
            f"There is no usable calibration in {where}: {key}: {first['msg']}. Name another one "
            "('xfusion-bluesky calibration list'), or calibrate again. Nothing has been changed."
        ) from error
