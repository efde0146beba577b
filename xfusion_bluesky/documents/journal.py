"""The journal: one file of JSON lines a run, written by whoever makes documents.

It is the only thing that acquisition and processing share. A line is `[name, document]`. Lines
are only appended; a reader that follows a journal sees complete lines only. Whoever writes one
holds a lock on it, which the kernel drops when that process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from .paths import checked_uid

SUFFIX = ".jsonl"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
_DURABLE = frozenset({"event", "event_page", "stop"})
_MOST_BYTES_AT_ONCE = 1 << 22

Document = dict[str, Any]


def journal_path(folder: Path, uid: str) -> Path:
    """Return the path of the journal of run `uid`.

    Raises
    ------
    UnsafePath
        The uid, which may come from somebody's metadata, could name a file elsewhere.
    """
    return folder / f"{checked_uid(uid)}{SUFFIX}"


def encode(name: str, document: Document) -> bytes:
    """Return one journal line, NumPy arrays and scalars as JSON numbers.

    Raises
    ------
    TypeError
        When the document holds something that JSON cannot (orjson.JSONEncodeError).
    """
    return orjson.dumps((name, document), option=_OPTIONS, default=_plain)


def _plain(value: object) -> object:
    # orjson refuses non-contiguous and non-native arrays, Fortran order and exotic scalars.
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"a document holds a {type(value).__name__}, which JSON cannot express")


class JournalWriter:
    """Appends the documents of one run; flushed at each, forced to disk at events and stop.

    Half a line, which a crash may have left at the end of the file, is cut off first.

    Parameters
    ----------
    folder : Path
        Journal folder; made when missing.
    uid : str
        Run uid, the name of the file.

    Raises
    ------
    BlockingIOError
        Somebody else, perhaps another process, writes this journal.
    """

    def __init__(self, folder: Path, uid: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = journal_path(folder, uid)
        self._file: BinaryIO = open(self.path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the run
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._cut_half_line()
        except OSError:
            self._file.close()
            raise

    def _cut_half_line(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            self._file.truncate(whole)

    def append(self, name: str, document: Document) -> None:
        """Append one document."""
        self.append_line(name, encode(name, document))

    def append_line(self, name: str, line: bytes) -> None:
        """Append one line made by `encode`."""
        # Not `tell`: after a truncation it would name a place beyond the end.
        start = os.fstat(self._file.fileno()).st_size
        try:
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) :]
            if name in _DURABLE:
                os.fdatasync(self._file.fileno())
        except OSError:
            # A half line would hide every later one from readers.
            self._file.truncate(start)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JournalReader:
    """Follows one journal: each call of `read` returns complete lines that were not read before.

    Parameters
    ----------
    path : Path
        The journal file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    @property
    def offset(self) -> int:
        """Bytes that were read as complete lines."""
        return self._offset

    def read(self) -> list[tuple[str, Document]]:
        """Return the next documents, oldest first; none when all complete lines were read.

        A call reads some megabytes at most, so that a long journal needs neither much memory nor
        much patience at a time.

        Raises
        ------
        ValueError
            When a complete line is no journal line; names the byte where it begins.
        """
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read(_MOST_BYTES_AT_ONCE)
            if b"\n" not in data:
                data += file.readline()
        documents: list[tuple[str, Document]] = []
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            try:
                name, document = orjson.loads(line)
            except (orjson.JSONDecodeError, ValueError, TypeError) as error:
                raise ValueError(
                    f"The journal {self.path} is damaged at byte {self._offset}: {error}. "
                    f"Documents before it are intact; the burst files are untouched."
                ) from error
            self._offset += len(line)
            documents.append((name, document))
        return documents


def read_journal(path: Path) -> Iterator[tuple[str, Document]]:
    """Yield the documents of a whole journal."""
    reader = JournalReader(path)
    while documents := reader.read():
        yield from documents
