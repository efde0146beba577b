"""The configuration file: defaults, validation, and errors that name the key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xfusion_bluesky.configuration import Configuration, ConfigurationError, reference, template


def _load(folder: Path, text: str) -> Configuration:
    path = folder / "xfusion.toml"
    path.write_text(text, encoding="utf-8")
    return Configuration.load(path)


def test_the_template_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    assert _load(tmp_path, template()) == Configuration().located(tmp_path)


def test_the_template_is_valid_with_its_lines_switched_on(tmp_path: Path) -> None:
    lines = [line.removeprefix("# ") if " = " in line else line for line in template().splitlines()]
    assert _load(tmp_path, "\n".join(lines)) == Configuration().located(tmp_path)


def test_folders_start_at_the_file(tmp_path: Path) -> None:
    configuration = _load(tmp_path, '[folders]\nraw = "data/raw"\n')
    assert configuration.folders.raw == tmp_path / "data" / "raw"


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folders = _load(tmp_path, '[folders]\nraw = "~/raw"\nreadable = ["old", "~/older"]\n').folders
    assert folders.raw == tmp_path / "home" / "raw"
    assert folders.raw_roots == (folders.raw, tmp_path / "old", tmp_path / "home" / "older")


def test_only_its_own_folders_are_written(tmp_path: Path) -> None:
    folders = _load(tmp_path, '[folders]\nreadable = ["/old"]\n').folders
    assert dict(folders) == {
        name: tmp_path / name for name in ("raw", "processed", "journal", "state")
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[tiled]\nurl = 'x'", "tiled.url"),
        ("[tiled]\nuri = 'x'", "tiled.uri"),
        ("[tiled]\nuri = 'http://a/?api_key=secret123'", "tiled.uri"),
        ("[tiled]\nuri = 'http://secret123@a/'", "tiled.uri"),
        ("[tiled]\nport = true", "tiled.port"),
        ("[tiled]\nport = 70000", "tiled.port"),
        ("[reconstruction]\ndeadline_s = 'soon'", "reconstruction.deadline_s"),
        ("[reconstruction]\nshard_frames = 0", "reconstruction.shard_frames"),
        ("[tiled]\nuri = 'http://a'\nprofile = 'b'", "tiled"),
        ("[devices]\nphantom = ''", "devices.phantom"),
        ("[devices]\nphantom = 'A B:'", "devices.phantom"),
        ("[devices]\nphantom = 'A:'\nshimadzu = 'A:'", "devices"),
        ("devices = 3", "devices"),
        ("colour = 3", "colour"),
        ("[folders]\nraw = 3", "folders.raw"),
        ('[folders]\nraw = "a\\u0000b"', "folders.raw"),
        ('[folders]\nreadable = "old"', "folders.readable"),
        ('[folders]\nreadable = ["a\\u0000b"]', "folders.readable.0"),
        ("[folders]\nprocessed = 'raw'", "folders.processed"),
        ("[folders]\nstate = './x/../journal'", "folders.state"),
        ("[folders]\nraw = 'xfusion.toml'", "folders.raw"),
        ("[folders]\nstate = 'xfusion.toml/state'", "folders.state"),
        ("[folders]\nreadable = ['xfusion.toml']", "folders.readable.0"),
        ("[folders]\nraw = '~nobody-of-this-name/raw'", "folders"),
        (f"[folders]\nraw = '{'x' * 300}'", "folders.raw"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"xfusion.toml is wrong at '{key}'") as caught:
        _load(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1
    assert "secret123" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"[folders\n", b"", b" \n\n", b"\xff\xfe", b"a = 1\0", b"a = " + b"[" * 5000]
)
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "xfusion.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"xfusion\.toml cannot be read") as caught:
        Configuration.load(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", [".", "missing.toml", "xfusion.toml/x", "x" * 300])
def test_what_is_no_readable_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "xfusion.toml").touch()
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        Configuration.load(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("command", [["runs"], ["console"], ["doctor"], ["sim", "start"]])
@pytest.mark.parametrize("content", ["", "[folders]\nprocessed = 'raw'\n", None])
def test_a_wrong_configuration_is_one_line_and_nothing_is_written(
    tmp_path: Path, command: list[str], content: str | None
) -> None:
    file = tmp_path / "xfusion.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    result = subprocess.run(
        [sys.executable, "-m", "xfusion_bluesky.cli", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert "xfusion.toml" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["xfusion.toml"]


def test_the_reference_has_every_key_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/configuration.md").read_text()
    for line in reference().splitlines():
        assert line in page.splitlines(), f"docs/reference/configuration.md lacks:\n{line}"


def test_the_api_key_comes_from_the_environment_and_does_not_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILED_API_KEY", "secret123")
    configuration = _load(tmp_path, "[tiled]\nuri = 'http://tiled.example'\n")
    assert configuration.tiled.api_key is not None
    assert configuration.tiled.api_key.get_secret_value() == "secret123"
    assert "secret123" not in repr(configuration) + repr(configuration.tiled.api_key)
