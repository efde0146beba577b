"""`xfusion-bluesky data fetch` against a web server on this computer, honest and not."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, refused, type_command
from PIL import Image

from xfusion_bluesky.datasets.errors import BadArchive, FetchError
from xfusion_bluesky.datasets.fetch import fetch
from xfusion_bluesky.datasets.known import DATASETS
from xfusion_bluesky.inference.virtual_set import VirtualSet

DATASET = DATASETS["rad_00001"]
RUBBISH = b"<html>Please log in</html>"


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def images() -> dict[str, bytes]:
    files = {}
    rng = np.random.default_rng(0)
    for camera, shape in (("LR", (8, 16)), ("HR", (32, 64))):
        for k in range(4):
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(stream, "png")
            files[f"rad_00001/{camera}/{k:05d}.png"] = stream.getvalue()
    return files


HONEST = packed({**images(), "__MACOSX/rad_00001/._HR": b"", "rad_00001/.DS_Store": b""})


@dataclass
class Behaviour:
    content: bytes = HONEST
    ranges: bool = True
    etag: str = '"1"'
    cuts: list[int] = field(default_factory=list)
    """Of each answer in turn: bytes after which the connection is closed."""
    status: int = 200
    length: bool = True
    asked: list[str | None] = field(default_factory=list)
    """Range of each request."""


class Server:
    """A web server with one file; it behaves as `behaviour` says."""

    def __init__(self) -> None:
        self.behaviour = behaviour = Behaviour()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers["Range"]
                behaviour.asked.append(wanted)
                content, begin = behaviour.content, 0
                if behaviour.status != 200:
                    self.send_error(behaviour.status)
                    return
                same = self.headers.get("If-Range", behaviour.etag) == behaviour.etag
                if wanted and behaviour.ranges and same:
                    begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    if begin >= len(content):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    whole = f"bytes {begin}-{len(content) - 1}/{len(content)}"
                    self.send_header("Content-Range", whole)
                else:
                    self.send_response(200)
                if behaviour.length:
                    self.send_header("Content-Length", str(len(content) - begin))
                self.send_header("ETag", behaviour.etag)
                self.end_headers()
                cut = behaviour.cuts.pop(0) if behaviour.cuts else len(content)
                self.wfile.write(content[begin : begin + cut])

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/rad_00001.zip"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def command(server: Server, folder: Path) -> Ended:
    return type_command("data", "fetch", "rad_00001", "--folder", str(folder), "--from", server.url)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_data_set_is_fetched_verified_and_ready_for_infer(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "data"

    first = command(server, folder)

    assert first.code == 0, first
    assert files(folder) == ["rad_00001.zip", "rad_00001.zip.sha256", "rad_00001_b0_0"]
    assert len(VirtualSet.open(folder / "rad_00001_b0_0")) == 4
    assert files(folder / "rad_00001_b0_0") == ["HR", "LR"]
    assert "infer --virtual" in first.out
    recorded = (folder / "rad_00001.zip.sha256").read_text()
    assert recorded == f"{hashlib.sha256(HONEST).hexdigest()}  rad_00001.zip\n"

    again = command(server, folder)
    assert again.code == 0, again
    assert server.behaviour.asked == [None]

    changed = bytearray(HONEST)
    changed[len(changed) // 2] ^= 1
    (folder / "rad_00001.zip").write_bytes(changed)
    refused(command(server, folder), "SHA-256", "To fetch it anew remove")
    # The publisher's archive is still the one of the first time.
    (folder / "rad_00001.zip").unlink()
    assert command(server, folder).code == 0
    server.behaviour.content = packed({**images(), "rad_00001/new": b""})
    (folder / "rad_00001.zip").unlink()
    refused(command(server, folder), "the publisher has changed it")
    assert not (folder / "rad_00001.zip").exists()


def test_an_interrupted_transfer_continues_by_itself(server: Server, tmp_path: Path) -> None:
    server.behaviour.cuts = [1000, 500]

    target = fetch(DATASET, tmp_path, server.url)

    assert server.behaviour.asked == [None, "bytes=1000-", "bytes=1500-"]
    assert (tmp_path / "rad_00001.zip").read_bytes() == HONEST
    VirtualSet.open(target).check()


def test_what_came_is_kept_for_the_next_time(server: Server, tmp_path: Path) -> None:
    server.behaviour.cuts = [1000, 0, 0, 0, 0, 0]
    refused(command(server, tmp_path), "did not come", "run the same command again")
    assert files(tmp_path) == ["rad_00001.zip.part", "rad_00001.zip.part.json"]

    server.behaviour.asked.clear()
    server.behaviour.cuts.clear()
    assert command(server, tmp_path).code == 0
    assert server.behaviour.asked == ["bytes=1000-"]
    assert (tmp_path / "rad_00001.zip").read_bytes() == HONEST


@pytest.mark.parametrize("change", ["no ranges", "another file", "shorter file"])
def test_what_cannot_be_continued_comes_anew(server: Server, tmp_path: Path, change: str) -> None:
    nearly_all = len(HONEST) - 10
    server.behaviour.cuts = [nearly_all]

    def interrupt(what: str, done: int, total: int | None) -> None:
        if done == nearly_all:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(DATASET, tmp_path, server.url, interrupt)
    assert (tmp_path / "rad_00001.zip.part").stat().st_size == nearly_all
    match change:
        case "no ranges":
            server.behaviour.ranges = False
        case "another file":
            server.behaviour.content = packed({**images(), "rad_00001/new": b"x" * 5000})
            server.behaviour.etag = '"2"'
        case "shorter file":
            server.behaviour.content = packed(
                {name: data for name, data in images().items() if "00003" not in name}
            )

    fetch(DATASET, tmp_path, server.url)

    assert (tmp_path / "rad_00001.zip").read_bytes() == server.behaviour.content


def test_a_server_that_does_not_say_how_long_the_file_is(server: Server, tmp_path: Path) -> None:
    server.behaviour.length = False

    VirtualSet.open(fetch(DATASET, tmp_path, server.url)).check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 404}, "404"),
        ({"status": 503}, "503"),
        ({"content": RUBBISH}, "no zip archive"),
        ({"content": HONEST[:-100]}, "no zip archive"),
        ({"content": packed({"HR/1.png": b""})}, "0 folders with LR and HR"),
    ],
)
def test_what_is_not_the_data_set_is_one_line_and_nothing_stays(
    server: Server, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    for name, value in change.items():
        setattr(server.behaviour, name, value)

    refused(command(server, tmp_path / "new"), words)

    assert not (tmp_path / "new").exists()


def test_the_network_is_away_or_the_name_is_wrong(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.close()
    folder = ["--folder", str(tmp_path / "new")]
    refused(
        type_command("data", "fetch", "rad_00001", *folder, "--from", url),
        *("Is the network there?", "Nothing was written"),
    )
    refused(type_command("data", "fetch", "rad_1", *folder), "rad_00001, rad_00002")
    for address in ("file:///etc/passwd", "nonsense", "http://"):
        refused(
            type_command("data", "fetch", "rad_00001", *folder, "--from", address),
            "Nothing was",
        )
    assert not (tmp_path / "new").exists()


def test_a_published_checksum_and_sizes_are_held_against_what_comes(
    server: Server, tmp_path: Path
) -> None:
    for dataset, words in (
        (replace(DATASET, sha256="0" * 64), "the published checksum"),
        (replace(DATASET, largest_archive_mb=0.001), "something else is there"),
        (replace(DATASET, largest_unpacked_mb=0.001), "it would become"),
    ):
        with pytest.raises((BadArchive, FetchError), match=words):
            fetch(dataset, tmp_path, server.url)
        assert files(tmp_path) == []
    server.behaviour.length = False
    with pytest.raises(FetchError, match="does not end"):
        fetch(replace(DATASET, largest_archive_mb=0.001), tmp_path, server.url)
    assert not (tmp_path / "rad_00001.zip").exists()
    right = replace(DATASET, sha256=hashlib.sha256(HONEST).hexdigest())
    assert fetch(right, tmp_path, server.url).is_dir()


def hostile(how: str) -> bytes:
    honest = images()
    name = next(iter(honest))
    match how:
        case "up":
            return packed({**honest, "rad_00001/../../escaped": b"x"})
        case "absolute":
            return packed({**honest, "/tmp/escaped": b"x"})
        case "drive":
            return packed({**honest, "C:/escaped": b"x"})
        case "backslash":
            return packed({**honest, "rad_00001\\..\\..\\escaped": b"x"})
        case "control":
            return packed({**honest, "rad_00001/a\nb": b"x"})
        case "case":
            return packed({**honest, name.upper(): b"x"})
        case "file and folder":
            return packed({**honest, f"{name}/x": b"x"})
        case "damaged":
            data = bytearray(packed(honest))
            place = data.index(b"PNG") + 40
            data[place] ^= 0xFF
            return bytes(data)
        case "encrypted":
            data = bytearray(packed(honest))
            for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                data[data.index(signature) + flags] |= 1
            return bytes(data)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, content in honest.items():
            archive.writestr(each, content)
        link = zipfile.ZipInfo("rad_00001/link")
        kind = stat.S_IFLNK if how == "link" else stat.S_IFIFO
        link.external_attr = (kind | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return stream.getvalue()


@pytest.mark.parametrize(
    "how",
    [
        *("up", "absolute", "drive", "backslash", "control", "case", "file and folder"),
        *("damaged", "encrypted", "link", "pipe"),
    ],
)
def test_a_hostile_or_damaged_archive_writes_nothing(
    server: Server, tmp_path: Path, how: str
) -> None:
    server.behaviour.content = hostile(how)
    folder = tmp_path / "deep" / "in"
    folder.mkdir(parents=True)

    refused(command(server, folder), "unpacked")

    assert files(folder) == []
    assert files(tmp_path) == ["deep"]
    assert not os.path.lexists("/tmp/escaped")


def test_an_archive_that_lies_about_its_size_is_stopped(server: Server, tmp_path: Path) -> None:
    content = bytearray(packed({**images(), "rad_00001/bomb": b"\0" * 10_000_000}))
    place = content.rindex(b"rad_00001/bomb") - 46
    assert content[place : place + 4] == b"PK\x01\x02"
    content[place + 24 : place + 28] = (1000).to_bytes(4, "little")
    server.behaviour.content = bytes(content)

    with pytest.raises(BadArchive):
        fetch(replace(DATASET, largest_unpacked_mb=1.0), tmp_path, server.url)

    assert files(tmp_path) == []


def test_nothing_is_overwritten_and_what_a_killed_run_left_is_no_obstacle(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "rad_00001_b0_0"
    (target / "LR").mkdir(parents=True)
    (target / "LR" / "mine.png").write_bytes(b"precious")
    left = tmp_path / ".rad_00001_b0_0.unpacking"
    (left / "rad_00001").mkdir(parents=True)
    (left / "rad_00001" / "half.png").write_bytes(b"ha")

    assert command(server, tmp_path).code == 0
    assert (target / "LR" / "mine.png").read_bytes() == b"precious"
    assert files(target / "LR") == ["mine.png"]

    (target / "LR" / "mine.png").unlink()
    (target / "LR").rmdir()
    target.rmdir()
    assert command(server, tmp_path).code == 0
    VirtualSet.open(target).check()
    assert not left.exists()


def test_list_says_what_there_is(tmp_path: Path) -> None:
    shown = type_command("data", "list")

    assert shown.code == 0
    for each in DATASETS.values():
        assert each.id in shown.out
        assert each.url in shown.out
        assert each.citation in shown.out
    assert "1024 x 400 px" in shown.out
