"""The floors of the house: which part may import which, and what an import may cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("bluesky", "caproto", "ophyd", "tiled", "torch")


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_imports_only_go_down() -> None:
    result = _python("from importlinter.cli import lint_imports; raise SystemExit(lint_imports())")

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "module",
    [
        "xfusion_bluesky",
        "xfusion_bluesky.backends.registry",
        "xfusion_bluesky.catalog",
        "xfusion_bluesky.configuration",
        "xfusion_bluesky.documents.journal",
        "xfusion_bluesky.fusion.sequence",
        "xfusion_bluesky.preflight.examination",
    ],
)
def test_import_needs_no_control_system_catalogue_or_network(module: str) -> None:
    result = _python(
        f"import sys, {module}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)), end='')"
    )

    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr
