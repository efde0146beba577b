"""The command line as an operator meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "xfusion_bluesky.cli"]


def _run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_init_writes_a_configuration_once(tmp_path: Path) -> None:
    assert _run("init", folder=tmp_path).returncode == 0
    before = (tmp_path / "xfusion.toml").read_text()
    again = _run("init", folder=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert (tmp_path / "xfusion.toml").read_text() == before


def test_plugins_list_shows_our_own_backends(tmp_path: Path) -> None:
    result = _run("plugins", "list", folder=tmp_path)
    assert result.returncode == 0
    for backend in ("bicubic", "hold", "linear", "linear-bp"):
        assert backend in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs"], "sim start"),
        (["show", "nothing"], "sim start"),
        (["runs", "--config", "missing.toml"], "no configuration file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = _run(*arguments, folder=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_key_in_the_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "xfusion.toml").write_text("[devices]\nphanton = 'X:'\n")
    result = _run("runs", folder=tmp_path)
    assert result.returncode == 2
    assert "devices.phanton" in result.stderr
