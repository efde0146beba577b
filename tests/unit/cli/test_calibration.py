"""The commands on calibration records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from calibration_records import record
from command_line import refused, type_command

SHAPES = (60, 80), (240, 320)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = datetime.now(UTC) - timedelta(hours=30)
    where = tmp_path / "raw" / "calibration"
    record(*SHAPES, made_utc=old).save(where / "aaaa1111-old.json")
    fresh = record(*SHAPES, offset_ns=-120.0, gain=1.02, inputs=[("mesh", "mesh-run")])
    fresh.save(where / "aabb2222-new.json")
    return where


def test_the_list_is_newest_first_and_says_how_old(folder):
    ended = type_command("calibration", "list")
    assert ended.code == 0
    assert [row[0] for row in ended.rows] == ["aabb2222", "aaaa1111"]
    new, old = ended.rows
    assert (new[3], new[5], new[6]) == ("0.020", "-120.0", "1.0200")
    assert "of 24 h" in new[2]
    assert "30.0 h old, was good for 24 h" in old[2]


def test_a_damaged_record_is_named_and_the_others_are_listed(folder):
    (folder / "cccc.json").write_text("{")
    ended = type_command("calibration", "list")
    assert len(ended.rows) == 2
    assert "cccc.json is no calibration record" in ended.out
    refused(type_command("calibration", "show", "cccc"), "cccc.json is no calibration record")


@pytest.mark.parametrize("name", ["aabb", "raw/calibration/aabb2222-new.json"])
def test_show_prints_the_numbers_and_draws(folder, name):
    ended = type_command("calibration", "show", name, "--picture", "report.png")
    assert ended.code == 0, ended.err
    assert "aabb2222-new" in ended.out
    assert ["offset", "-120.0 +- 10.0 ns"] in ended.rows
    assert "mesh-run" in ended.out
    assert (folder.parents[1] / "report.png").stat().st_size > 10_000


def test_a_damaged_picture_file_is_named_and_the_numbers_need_none(folder):
    (folder / "aabb2222-new.spatial.npz").write_bytes(b"nonsense")
    ended = type_command("calibration", "show", "aabb", "--picture", "report.png")
    assert ended.code == 2
    assert "aabb2222-new.spatial.npz" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (folder.parents[1] / "report.png").exists()
    assert type_command("calibration", "show", "aabb").code == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aa", "2 calibrations begin with aa"),
        ("zz", "no calibration zz"),
        ("", "no calibration"),
        ("../aabb", "no calibration"),
        ("nothing.json", "cannot be read"),
    ],
)
def test_what_is_not_there_is_one_line(folder, name, words):
    refused(type_command("calibration", "show", name), words)


def test_an_installation_without_calibrations_lists_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = type_command("calibration", "list")
    assert (ended.code, ended.rows) == (0, [])
