"""The configuration file: defaults, validation, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from xfusion_bluesky.configuration import Configuration, ConfigurationError, template


def _load(folder: Path, text: str) -> Configuration:
    path = folder / "xfusion.toml"
    path.write_text(text, encoding="utf-8")
    return Configuration.load(path)


def test_the_template_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    assert _load(tmp_path, template()) == Configuration().located(tmp_path)


def test_the_template_is_valid_with_its_lines_switched_on(tmp_path: Path) -> None:
    lines = [
        line.removeprefix("# ") if " = " in line and "uri" not in line else line
        for line in template().splitlines()
        if "profile" not in line and "allow" not in line and "uri" not in line
    ]
    assert _load(tmp_path, "\n".join(lines)) == Configuration().located(tmp_path)


def test_folders_start_at_the_file(tmp_path: Path) -> None:
    configuration = _load(tmp_path, '[folders]\nraw = "data/raw"\n')
    assert configuration.folders.raw == tmp_path / "data" / "raw"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[tiled]\nurl = 'x'", "tiled.url"),
        ("[reconstruction]\ndeadline_s = 'soon'", "reconstruction.deadline_s"),
        ("[reconstruction]\nshard_frames = 0", "reconstruction.shard_frames"),
        ("[tiled]\nuri = 'http://a'\nprofile = 'b'", "tiled"),
        ("colour = 3", "colour"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"wrong at '{key}'"):
        _load(tmp_path, text)


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        _load(tmp_path, "[folders\n")


def test_the_api_key_comes_from_the_environment_and_does_not_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILED_API_KEY", "secret123")
    configuration = _load(tmp_path, "[tiled]\nuri = 'http://tiled.example'\n")
    assert configuration.tiled.api_key is not None
    assert configuration.tiled.api_key.get_secret_value() == "secret123"
    assert "secret123" not in repr(configuration) + repr(configuration.tiled.api_key)
