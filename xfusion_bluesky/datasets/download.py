"""Download a file so that an interruption costs nothing but the wait."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from xfusion_bluesky.datasets.errors import FetchError

__all__ = ["PART_SUFFIX", "download"]

PART_SUFFIX = ".part"
_STATE_SUFFIX = ".part.json"
_BLOCK_BYTES = 1 << 18
_REPETITIONS = 4
_TIMEOUT_S = 30.0
_PAUSE_S = 0.25
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MB = 1_000_000

OnBytes = Callable[[int, int | None], object]
"""Told how many bytes there are, and how many there will be, where that is known."""


class _Interrupted(Exception):
    """The transfer stopped; it can be continued."""


@dataclass(frozen=True)
class _State:
    """Which version of which file the bytes at hand are of."""

    url: str
    validator: str

    @classmethod
    def read(cls, path: Path) -> _State | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(found["url"]), str(found["validator"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def download(
    url: str,
    file: Path,
    largest_bytes: int,
    on_bytes: OnBytes = lambda done, total: None,
) -> None:
    """Bring a file here; it gets its name when it is complete.

    What came before an interruption lies beside it as ``<name>.part`` and is continued, if the
    server can do that and the file there is still the same; otherwise it comes anew.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``.
    file : Path
        Where to; its folder exists, it does not.
    largest_bytes : int
        A longer one is refused.
    on_bytes : callable
        Progress.

    Raises
    ------
    FetchError
        The server cannot be reached, has no such file, or stops again and again without sending
        anything; the file is too long for the disk or for what it should be.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise FetchError(f"{url} is no address of a web server. Nothing was fetched.")
    part = file.with_name(file.name + PART_SUFFIX)
    # A server that has not answered yet is not waited for.
    left = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, file, part, largest_bytes, on_bytes)
            break
        except _Interrupted as error:
            left = _REPETITIONS if _size(part) > before else left - 1
            if left < 0:
                raise FetchError(
                    f"{url} did not come: {error}. Is the network there? {_what_is_kept(part)}"
                ) from error
            time.sleep(_PAUSE_S * 2 ** (_REPETITIONS - left))
    os.replace(part, file)
    file.with_name(file.name + _STATE_SUFFIX).unlink(missing_ok=True)


def _transfer(url: str, file: Path, part: Path, largest_bytes: int, on_bytes: OnBytes) -> None:
    state_file = file.with_name(file.name + _STATE_SUFFIX)
    state = _State.read(state_file)
    have = _size(part)
    if have and (state is None or state.url != url):
        part.unlink()
        have = 0
    with _open(url, have, state.validator if state else "") as answer:
        begin, total = _extent(answer, have)
        _refuse_too_long(url, part, total, begin, largest_bytes)
        if begin != have:
            part.unlink(missing_ok=True)
        if begin == 0:
            known = asdict(_State(url, _validator(answer)))
            state_file.write_text(json.dumps(known), encoding="utf-8")
        _copy(url, answer, part, begin, total, largest_bytes, on_bytes)


def _open(url: str, have: int, validator: str) -> Any:
    headers = {"Accept-Encoding": "identity", "User-Agent": "xfusion-bluesky"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        return urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                # All of it is here already, or the file there is another one.
                return _open(url, 0, "")
            if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code == 429:
                raise _Interrupted(f"the server answered {error.code} {error.reason}") from error
            raise FetchError(
                f"{url} cannot be had: the server answered {error.code} {error.reason}. Has it "
                "moved? --from takes another address. Nothing was changed."
            ) from error
    except (OSError, http.client.HTTPException) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _Interrupted(f"{type(why).__name__}: {why}") from error
    except ValueError as error:
        raise FetchError(f"{url} is no address: {error}. Nothing was fetched.") from error


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """Return where the answer begins in the file, and how long the file is."""
    if answer.status == http.client.PARTIAL_CONTENT:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            raise FetchError(
                f"{answer.url}: the server sent another part of the file than it was asked for. "
                "Remove the .part file and try again."
            )
        return have, None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _validator(answer: Any) -> str:
    etag: str = answer.headers.get("ETag") or ""
    # A weak one does not promise equal bytes.
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("Last-Modified") or ""


def _refuse_too_long(
    url: str, part: Path, total: int | None, have: int, largest_bytes: int
) -> None:
    if total is None:
        return
    if total > largest_bytes:
        raise FetchError(
            f"{url} has {total / _MB:.0f} MB, this data set has less than "
            f"{largest_bytes / _MB:.0f} MB: something else is there. Nothing was fetched."
        )
    free = shutil.disk_usage(part.parent).free
    if free < total - have:
        raise FetchError(
            f"{url} needs {(total - have) / _MB:.0f} MB more, the disk of {part.parent} has "
            f"{free / _MB:.0f} MB free: make room, or name another --folder."
        )


def _copy(
    url: str,
    answer: IO[bytes],
    part: Path,
    begin: int,
    total: int | None,
    largest_bytes: int,
    on_bytes: OnBytes,
) -> None:
    done = begin
    on_bytes(done, total)
    with part.open("ab") as stream:
        while True:
            try:
                block = answer.read(_BLOCK_BYTES)
            except http.client.IncompleteRead as error:
                stream.write(error.partial)
                raise _Interrupted("the connection was closed too early") from error
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(f"{type(error).__name__}: {error}") from error
            if not block:
                break
            done += len(block)
            if done > largest_bytes:
                raise FetchError(
                    f"{url} does not end after {largest_bytes / _MB:.0f} MB: this is not the data "
                    f"set. Remove {part}."
                )
            stream.write(block)
            on_bytes(done, total)
        stream.flush()
        os.fsync(stream.fileno())
    if total is not None and done < total:
        raise _Interrupted(f"the connection was closed after {done} of {total} bytes")


def _what_is_kept(part: Path) -> str:
    if not part.exists():
        return "Nothing was written."
    return (
        f"The {_size(part) / _MB:.1f} MB that came are kept in {part}; run the same command again "
        "to continue."
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
