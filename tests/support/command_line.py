"""The command line in this process: as a person types it, without another Python to start."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

from xfusion_bluesky.cli.installation import console
from xfusion_bluesky.cli.main import main


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """Cells of the table, without its head."""
        lines = [line for line in self.out.splitlines() if line.startswith("│")]
        return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def type_command(*arguments: str) -> Ended:
    out, err, code = StringIO(), StringIO(), 0
    console.width = 240
    command = patch.object(sys, "argv", ["xfusion-bluesky", *arguments])
    with command, redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def refused(ended: Ended, *words: str) -> None:
    """One line on stderr, exit code 2, and nothing else."""
    assert (ended.code, ended.out) == (2, ""), ended
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err, ended.err
