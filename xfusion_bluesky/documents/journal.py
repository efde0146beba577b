"""The journal: one file of JSON lines a run, written by whoever makes documents.

It is the only thing that acquisition and processing share. A line is `[name, document]`. Lines
are only appended; a reader that follows a journal sees complete lines only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

SUFFIX = ".jsonl"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
_DURABLE = frozenset({"event", "event_page", "stop"})

Document = dict[str, Any]


def journal_path(folder: Path, uid: str) -> Path:
    """Return the path of the journal of run `uid`."""
    return folder / f"{uid}{SUFFIX}"


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

    Parameters
    ----------
    folder : Path
        Journal folder; made when missing.
    uid : str
        Run uid, the name of the file.
    """

    def __init__(self, folder: Path, uid: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = journal_path(folder, uid)
        self._file: BinaryIO = open(self.path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the run

    def append(self, name: str, document: Document) -> None:
        """Append one document."""
        self.append_line(name, encode(name, document))

    def append_line(self, name: str, line: bytes) -> None:
        """Append one line made by `encode`."""
        start = self._file.tell()
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
    """Follows one journal: each call of `read` returns the complete lines added since the last.

    Parameters
    ----------
    path : Path
        The journal file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> list[tuple[str, Document]]:
        """Return the documents appended since the last call, oldest first.

        Raises
        ------
        ValueError
            When a complete line is no journal line; names the byte where it begins.
        """
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
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
    yield from JournalReader(path).read()
