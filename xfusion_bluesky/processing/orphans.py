"""Runs whose process has gone before their stop document: found by their lock, and closed."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from xfusion_bluesky.documents.journal import SUFFIX, Document, JournalWriter, read_journal
from xfusion_bluesky.documents.processed import ANALYSIS_STAGE, orphan_stop

DAMAGED_SUFFIX = ".damaged"
_TAIL_BYTES = 1 << 16


def has_stop(path: Path) -> bool:
    """Whether the last complete line of a journal is a stop document; reads the end only."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _TAIL_BYTES))
        lines = file.read().rpartition(b"\n")[0].splitlines()
    return bool(lines) and lines[-1].startswith(b'["stop",')


def end_orphan(path: Path, reason: str) -> bool:
    """Close a run that nobody writes any more with a stop document ``abort``.

    Parameters
    ----------
    path : Path
        Its journal.
    reason : str
        For the stop document.

    Returns
    -------
    bool
        Whether the run was closed now; False when its process lives, it has its stop document
        already, or it has no complete document at all.

    Raises
    ------
    ValueError
        The journal is damaged before its end.
    """
    try:
        journal = JournalWriter(path.parent, path.name.removesuffix(SUFFIX))
    except BlockingIOError:
        return False
    try:
        if has_stop(path):
            return False
        documents = list(read_journal(path))
        if not documents:
            return False
        journal.append("stop", _stop_of(documents, "abort", reason))
        return True
    finally:
        journal.close()


@dataclass(frozen=True)
class Repair:
    """What was done to a damaged journal.

    Parameters
    ----------
    path : Path
        The journal, now readable.
    original : Path
        The damaged one, kept as it was.
    kept, lost : int
        Lines.
    """

    path: Path
    original: Path
    kept: int
    lost: int


def repair(path: Path) -> Repair | None:
    """Rewrite a journal without the lines that cannot be read; None when there are none such.

    The original is kept beside it. A run that lacks its stop document gets one that says ``fail``.

    Parameters
    ----------
    path : Path
        A journal that nobody writes any more.

    Raises
    ------
    BlockingIOError
        Its process lives.
    ValueError
        The start document is lost, so that nothing says what the others belong to.
    """
    journal = JournalWriter(path.parent, path.name.removesuffix(SUFFIX))
    try:
        lines = path.read_bytes().splitlines(keepends=True)
        parsed = [(line, _parsed(line)) for line in lines]
        kept = [(line, document) for line, document in parsed if document is not None]
        lost = len(lines) - len(kept)
        if not lost:
            return None
        if not kept or kept[0][1][0] != "start":
            raise ValueError(
                f"The journal {path} cannot be repaired: its start document is lost. The burst "
                "files that its other lines name are safe."
            )
        original = path.with_name(path.name + DAMAGED_SUFFIX)
        shutil.copy2(path, original)
        draft = path.with_name(path.name + ".part")
        with draft.open("wb") as file:
            file.writelines(line for line, _ in kept)
            if kept[-1][1][0] != "stop":
                reason = f"{lost} documents of its journal could not be read, see {original}"
                stop = _stop_of([document for _, document in kept], "fail", reason)
                file.write(orjson.dumps(("stop", stop)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return Repair(path, original, len(kept), lost)
    finally:
        journal.close()


def _parsed(line: bytes) -> tuple[str, Document] | None:
    try:
        name, document = orjson.loads(line)
    except (ValueError, TypeError):
        return None
    return (name, document) if isinstance(name, str) and isinstance(document, dict) else None


def _stop_of(documents: list[tuple[str, Document]], status: str, reason: str) -> dict[str, Any]:
    start = documents[0][1]
    if start.get("analysis_stage") == ANALYSIS_STAGE and status == "abort":
        return orphan_stop(documents, reason)
    streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    counts: dict[str, int] = {}
    for name, document in documents:
        if name == "event" and document["descriptor"] in streams:
            stream = streams[document["descriptor"]]
            counts[stream] = counts.get(stream, 0) + 1
    return {
        "uid": str(uuid.uuid4()),
        "run_start": start["uid"],
        "time": time.time(),
        "exit_status": status,
        "reason": reason,
        "num_events": counts,
    }
