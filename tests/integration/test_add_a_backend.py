"""The page "Add a backend in 30 minutes", followed to the letter in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from xfusion_bluesky.backends.checks import CHECKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/add-a-backend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
Shell = Callable[..., str]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run text in bash or Python, in an environment that sees ours and can be thrown away."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    paths = {"base": str(environment), "platbase": str(environment)}
    own = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    ours = sysconfig.get_path("purelib")
    # addsitedir, unlike a plain path, also follows our own editable installations.
    (own / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    command = environment / "bin" / "xfusion-bluesky"
    command.write_text('#!/bin/sh\nexec python -m xfusion_bluesky.cli "$@"\n')
    command.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    variables = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(environment),
        # Everything needed is here: pip shall build with our setuptools and ask no index.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "COLUMNS": "160",
    }

    def run(text: str, program: tuple[str, ...] = ("bash", "-euxo", "pipefail", "-c")) -> str:
        result = subprocess.run(
            [*program, text],
            cwd=work,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    return run


def test_the_page_works_and_leaves_nothing_behind(shell: Shell, tmp_path: Path) -> None:
    assert "xfusion-nearest" not in _our_plugins()
    printed: list[str] = []
    for language, text in BLOCKS:
        match language:
            case "sh":
                printed.append(shell(text))
            case "python":
                printed.append(shell(text, program=("python", "-c")))
            case "py":
                module = tmp_path / "work/xfusion-nearest/xfusion_nearest/__init__.py"
                assert text in module.read_text()
    begun, checked, fused, removed = printed
    assert re.search(r"│ nearest +│ 0\.1\.0", begun)
    assert f"{2 * len(CHECKS)} passed" in checked  # its two test classes
    assert checked.count("It keeps the contract.") == 2
    scores = re.findall(r"frame \d+: (\S+) dB, upsampled alone (\S+) dB", fused)
    assert len(scores) == 13
    assert sum(float(own) for own, _ in scores) > sum(float(alone) for _, alone in scores)
    assert "Successfully uninstalled xfusion-nearest" in removed
    shown = removed.partition("Successfully uninstalled")[2]
    assert "bicubic" in shown
    assert not re.search(r"│ nearest +│ 0\.1\.0", shown)
    assert "xfusion-nearest" not in _our_plugins()


def test_what_is_written_has_style_and_types(shell: Shell) -> None:
    shell("xfusion-bluesky plugins new my-2nd-method --folder there")
    ruff, mypy = (f"{sys.executable} -m {tool}" for tool in ("ruff", "mypy"))
    shell(f"{ruff} check there && {ruff} format --check there")
    shell(f"{ruff} check --config {ROOT / 'pyproject.toml'} there")
    shell(f"cd there && {mypy} --cache-dir=/dev/null --follow-imports=silent .")


def test_a_wheel_carries_the_templates(shell: Shell, tmp_path: Path) -> None:
    copied = ("pyproject.toml", "README.md", "LICENSE", "xfusion_bluesky")
    shell(f"cp -r {' '.join(str(ROOT / name) for name in copied)} .")
    listed = shell("python -m pip wheel --quiet --no-deps . && python -m zipfile -l *.whl")
    for template in (ROOT / "xfusion_bluesky/backends/template").iterdir():
        assert f"backends/template/{template.name}" in listed


def _our_plugins() -> str:
    # A new process each time: this one has looked already, and may remember.
    code = "from xfusion_bluesky.backends.registry import Registry; print(Registry.discover())"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
