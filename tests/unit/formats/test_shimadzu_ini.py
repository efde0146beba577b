"""Times of Shimadzu images: what is read, what is refused and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.shimadzu_ini import (
    ShimadzuIni,
    read_shimadzu_ini,
    write_shimadzu_ini,
)

GOOD = """[REC_INFO]
RecSpeed=5,000ns
RecFrame=3
Comment=50 % of the beam, \xb5m
[IMAGE_INFO_1]
ImageRelative=-100
[IMAGE_INFO_2]
ImageRelative=4,900
[IMAGE_INFO_3]
ImageRelative = 9900 ns
[OTHER]
Name
"""


def read(folder: Path, text: str | bytes, encoding: str = "latin-1") -> ShimadzuIni:
    path = folder / "burst.ini"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_shimadzu_ini(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
def test_times_are_read_whatever_else_stands_there(tmp_path: Path, encoding: str) -> None:
    ini = read(tmp_path, GOOD, encoding)

    assert ini == ShimadzuIni(5000, (-100, 4900, 9900))


@settings(max_examples=30)
@given(
    interval=st.integers(1, 10**9),
    steps=st.lists(st.integers(1, 10**9), min_size=1, max_size=20),
    first=st.integers(-(10**9), 10**9),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, interval: int, steps: list[int], first: int
) -> None:
    times = [first]
    for step in steps:
        times.append(times[-1] + step)
    path = tmp_path_factory.getbasetemp() / "round.ini"
    ini = ShimadzuIni(interval, tuple(times))

    write_shimadzu_ini(path, ini)

    assert read_shimadzu_ini(path) == ini


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("5,000ns", "5,000us", "RecSpeed is '5,000us'"),
        ("5,000ns", "5,000", "RecSpeed is '5,000'"),
        ("5,000ns", "0ns", "RecSpeed is 0 ns"),
        ("5,000ns", "9" * 100 + "ns", "RecSpeed is '999"),
        ("RecSpeed=5,000ns\n", "", "RecSpeed is missing"),
        ("RecFrame=3", "RecFrame=0", "RecFrame is 0"),
        ("RecFrame=3", "RecFrame=4", r"IMAGE_INFO_4\] ImageRelative is missing"),
        ("RecFrame=3", "RecFrame=1000000000", "no number of frames"),
        ("4,900", "-100", r"IMAGE_INFO_2\] ImageRelative is -100 ns, not after"),
        ("4,900", "nan", "ImageRelative is 'nan'"),
        ("4,900", "", "ImageRelative is ''"),
        ("[OTHER]", "[REC_INFO]", "no INI file"),
        ("[REC_INFO]\n", "", "no INI file"),
        ("Name", "Na\0me", "NUL characters"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))

    assert "burst.ini" in str(caught.value)
    assert str(caught.value).endswith("Nothing was changed.")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_of_another_size_or_kind_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"has 5.0 MB, where at most 4.0 MB"):
        read(tmp_path, b"9" * 5_000_000)
    with pytest.raises(FormatError, match="no text in utf-16"):
        read(tmp_path, b"\xff\xfe\x00\xd8a")
    with pytest.raises(FormatError, match="is no file"):
        read_shimadzu_ini(Path("/dev/zero"))
    with pytest.raises(FormatError, match="No such file"):
        read_shimadzu_ini(tmp_path / "away.ini")
    with pytest.raises(FormatError, match="cannot be read"):
        read_shimadzu_ini(tmp_path)
