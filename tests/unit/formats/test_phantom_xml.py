"""Times of Phantom images: exact, without time zones, and hostile files are refused."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfusion_bluesky.formats.errors import FormatError
from xfusion_bluesky.formats.phantom_xml import PhantomXml, read_phantom_xml, write_phantom_xml

GOOD = """<?xml version="1.0" encoding="UTF-8"?>
<chd><CineFileHeader><Version>1</Version></CineFileHeader>
<CameraSetup><FrameRateDouble>76000.5</FrameRateDouble><Gamma>0.000000</Gamma>
<Serial>7510</Serial></CameraSetup>
<TIMEBLOCK>
<Date Frame="-1">Wed Jan 17 2024</Date><Time Frame="-1">23:59:59.999 993.00 </Time>
<Date Frame="0">Thu Jan 18 2024</Date><Time Frame="0">00:00:00.000 006.15 E</Time>
<Date Frame="1">Thu, Jan 18, 2024</Date><Time Frame="1">00:00:00.000 019.31 E</Time>
</TIMEBLOCK></chd>
"""


def read(folder: Path, text: str | bytes) -> PhantomXml:
    path = folder / "cine.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_phantom_xml(path)


@pytest.fixture
def new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_times_are_exact_over_midnight_and_in_any_time_zone(tmp_path: Path) -> None:
    xml = read(tmp_path, GOOD)

    assert xml.frame_rate_hz == 76000.5
    assert xml.event_flag == (False, True, True)
    assert [time_ns - xml.time_ns[1] for time_ns in xml.time_ns] == [-13150, 0, 13160]
    assert xml.time_ns[1] == 1_705_536_000 * 10**9 + 6150


@pytest.mark.usefixtures("new_york")
def test_the_night_in_which_clocks_are_set_back_has_no_jump(tmp_path: Path) -> None:
    text = GOOD.replace("Wed Jan 17", "Sat Nov 2").replace("Thu Jan 18", "Sun Nov 3")
    text = text.replace("Thu, Jan 18", "Sun, Nov 3")

    xml = read(tmp_path, text)

    assert xml.time_ns[1] - xml.time_ns[0] == 13150


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 10**12), st.booleans()), min_size=1, max_size=20),
    st.floats(1, 1e8),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]], rate_hz: float
) -> None:
    times = [1_700_000_000 * 10**9]
    for ticks, _ in steps:
        times.append(times[-1] + 10 * ticks)
    path = tmp_path_factory.getbasetemp() / "round.xml"
    xml = PhantomXml(rate_hz, tuple(times[1:]), tuple(flag for _, flag in steps))

    write_phantom_xml(path, xml, frame_numbers=range(-5, len(xml) - 5))

    assert read_phantom_xml(path) == xml


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<Gamma>0.000000", "<Gamma>2.2", "Gamma is 2.2: .* Set gamma to 0"),
        ("<Gamma>0.000000</Gamma>", "", "CameraSetup/Gamma is missing"),
        ("<Gamma>0.000000", "<Gamma>nan", "Gamma is 'nan', no number"),
        ("<FrameRateDouble>76000.5", "<FrameRateDouble>fast", "FrameRateDouble is 'fast'"),
        ("76000.5", "-1", "FrameRateDouble is -1"),
        ("<Serial>7510</Serial>", "<Gamma>0</Gamma>", "Gamma is there twice"),
        ("TIMEBLOCK", "OTHER", "0 dates and 0 times"),
        ('<Date Frame="0">Thu Jan 18 2024</Date>', "", "2 dates and 3 times"),
        ("Wed Jan 17 2024", "17.1.2024", "Date of frame 0 is '17.1.2024'"),
        ("Wed Jan 17 2024", "Fri Feb 30 2024", "Date of frame 0"),
        ("23:59:59.999 993.00", "24:59:59.999 993.00", "Time of frame 0 is '24:"),
        ("000 006.15", "000 019.31", "frame 2 is 0 ns before .*, or equal"),
        ("000 006.15", "000 219.31", "frame 2 is 200000 ns before"),
        ("006.15 E", "006.15 " + "9" * 10**6, "holds more than 100 characters"),
        ("</TIMEBLOCK></chd>", "", "no XML"),
        ("<chd>", "<chd>" * 100, "nested more than 64 deep"),
        ("UTF-8", "EBCDIC-NONE", "no XML"),
        ("<chd>", '<!DOCTYPE chd SYSTEM "file:///etc/passwd"><chd>', "document type or entities"),
        ("<chd>", '<!DOCTYPE c [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><chd>&b;', "document type"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path, GOOD.replace(old, new))

    assert "cine.xml" in str(caught.value)
    assert str(caught.value).endswith("Nothing was changed.")
    assert len(str(caught.value)) < 500


def test_an_entity_in_a_time_is_no_way_around(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no XML"):
        read(tmp_path, GOOD.replace("006.15", "&lol;"))


def test_a_file_that_is_a_hole_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.xml"
    with path.open("wb") as file:
        file.truncate(10**9)

    with pytest.raises(FormatError, match=r"1000\.0 MB"):
        read_phantom_xml(path)
