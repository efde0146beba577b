"""Names in documents: which files they may lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfusion_bluesky.documents.journal import journal_path
from xfusion_bluesky.documents.paths import (
    UnsafePath,
    check_inside,
    checked_uid,
    local_file,
    path_of,
)
from xfusion_bluesky.documents.raw import Burst, CameraBurst


def _camera(file: Path) -> CameraBurst:
    return CameraBurst(file, "/entry/data/data", (0, 4, 6), (), (), (), "")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "burst.h5").touch()
    (tmp_path / "secret.h5").touch()
    return folder


@pytest.mark.parametrize("start", ["file://localhost", "file://"])
def test_a_file_in_a_readable_folder_is_found(raw: Path, start: str) -> None:
    assert local_file(f"{start}{raw}/burst.h5", [raw]) == raw / "burst.h5"
    assert local_file(f"{start}{raw}/not-yet.h5", [raw]) == raw / "not-yet.h5"


def test_further_folders_can_be_made_readable(raw: Path) -> None:
    other = raw.parent / "last-year"
    uri = f"file://localhost{other}/burst.h5"
    with pytest.raises(UnsafePath, match=r"\[folders\]"):
        local_file(uri, [raw])
    assert local_file(uri, [raw, other]) == other / "burst.h5"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("file://localhost{raw}/../secret.h5", "climbs"),
        ("file://localhost{raw}/..", "climbs"),
        ("file://localhost{raw}/burst.h5\0.txt", "NUL"),
        ("file://localhost/etc/passwd", "outside"),
        ("file://localhost{raw}-other/burst.h5", "outside"),
        ("file://elsewhere{raw}/burst.h5", "no file of this computer"),
        ("file:{raw}/burst.h5", "no file of this computer"),
        ("FILE://localhost{raw}/burst.h5", "no file of this computer"),
        ("http://localhost{raw}/burst.h5", "no file of this computer"),
        ("{raw}/burst.h5", "no file of this computer"),
        ("", "no file of this computer"),
        ("file://localhost{raw}/\udc80\ud800", "cannot be followed"),
        ("file://localhost{raw}/" + "line\n" * 3 + "/../x", "climbs"),
    ],
)
def test_what_leads_elsewhere_is_refused_in_one_line(raw: Path, uri: str, why: str) -> None:
    with pytest.raises(UnsafePath, match=why) as caught:
        local_file(uri.format(raw=raw), [raw])
    assert len(str(caught.value).splitlines()) == 1
    assert "data" in str(caught.value)


def test_percent_signs_are_part_of_the_name(raw: Path) -> None:
    assert (
        local_file(f"file://localhost{raw}/%2e%2e/50%#1.h5", [raw]) == raw / "%2e%2e" / "50%#1.h5"
    )


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(raw: Path) -> None:
    (raw / "out.h5").symlink_to(raw.parent / "secret.h5")
    (raw / "up").symlink_to(raw.parent)
    (raw / "in.h5").symlink_to(raw / "burst.h5")
    (raw / "circle").symlink_to(raw / "circle")
    assert local_file(f"file://localhost{raw}/in.h5", [raw]) == raw / "burst.h5"
    for name in ("out.h5", "up/secret.h5", "up/raw/../secret.h5", "circle"):
        with pytest.raises(UnsafePath):
            local_file(f"file://localhost{raw}/{name}", [raw])


def test_a_readable_folder_may_itself_be_a_link(raw: Path) -> None:
    link = raw.parent / "link"
    link.symlink_to(raw)
    assert local_file(f"file://localhost{link}/burst.h5", [link]) == raw / "burst.h5"


@given(st.text(st.characters(codec=None), max_size=60))
def test_whatever_the_uri_only_files_inside_come_back(rest: str) -> None:
    root = Path("/nowhere/raw")
    try:
        found = local_file(f"file://localhost{root}/{rest}", [root])
    except UnsafePath as error:
        refusal = str(error)
    else:
        assert found.is_relative_to(root)
        refusal = ""
    assert len(refusal.splitlines()) <= 1


def test_both_files_of_a_burst_are_checked(raw: Path) -> None:
    inside, outside = _camera(raw / "burst.h5"), _camera(Path("/etc/passwd"))
    check_inside(Burst({}, 1, inside, inside), [raw])
    for burst in (Burst({}, 1, outside, inside), Burst({}, 1, inside, outside)):
        with pytest.raises(UnsafePath, match="/etc/passwd"):
            check_inside(burst, [raw])


def test_more_than_one_slash_is_one(raw: Path) -> None:
    assert path_of("file://localhost//data/x.h5") == Path("/data/x.h5")


@pytest.mark.parametrize(
    "uid", ["", "../../etc/passwd", "a/b", "a.b", "a\0", "a%2fb", "x" * 65, "é"]
)
def test_a_uid_that_could_be_a_path_is_refused(tmp_path: Path, uid: str) -> None:
    with pytest.raises(UnsafePath, match="letters, digits and hyphens") as caught:
        journal_path(tmp_path, uid)
    assert len(str(caught.value).splitlines()) == 1


@given(
    st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True, alphabet=st.characters(max_codepoint=126))
)
def test_every_other_uid_names_a_file_of_the_folder(uid: str) -> None:
    assert checked_uid(uid) == uid
    assert journal_path(Path("/journal"), uid).parent == Path("/journal")
