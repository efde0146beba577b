"""A child process that is ended together with everything it started, whatever that does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ContainedProcess", "how_ended"]

_MARK = "XFUSION_CONTAINED_PROCESS"
_LONGEST_KILL_S = 2.0
_POLL_S = 0.005
_LONGEST_WAIT_S = 5.0
_MB = 1 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ContainedProcess:
    """A process in a session of its own, and all its descendants.

    Descendants are known by their session and, should they have left that, by a variable of the
    environment that they inherit.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    pass_fds : sequence of int
        File descriptors it keeps.
    output : int
        File descriptor for its standard output and error.
    environment : mapping
        Its environment, without the mark that is added.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int],
        output: int,
        environment: Mapping[str, str],
    ) -> None:
        token = uuid.uuid4().hex
        self._mark = f"{_MARK}={token}".encode()
        # Until `stop` it is never waited for: while it is not collected, nobody gets its pid.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environment, _MARK: token},
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def ended(self) -> os.waitid_result | None:
        """Return how the process itself ended, or None while it runs; it stays uncollected."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def ends_within(self, timeout_s: float) -> os.waitid_result | None:
        """Return how the process ended, or None when it has not within `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while (ended := self.ended()) is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return ended

    def members(self) -> list[int]:
        """Return the pids of the process and its descendants that run."""
        return [
            pid
            for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
            if self._is_member(pid) and _runs(pid)
        ]

    def memory_over(self, limit_mb: float) -> float:
        """Return the resident memory of all members in MB when it is over a limit, else 0.

        Memory that members share is counted once. Address space would be the wrong measure: GPU
        libraries reserve far more of it than any computer has.
        """
        members = self.members()
        used_mb = sum(_resident_mb(pid) for pid in members)
        if used_mb > limit_mb and len(members) > 1:
            used_mb = sum(_proportional_mb(pid) for pid in members)
        return used_mb if used_mb > limit_mb else 0.0

    def end_stragglers(self) -> int:
        """Kill all descendants, not the process itself; return how many there were."""
        return self._kill_members(spared=self.pid)

    def kill(self) -> None:
        """Kill the process and all descendants."""
        self._kill_members(spared=None)

    def stop(self) -> None:
        """Kill everything and collect the process; nothing else may be called afterwards."""
        self.kill()
        # One that hangs in the kernel does not even die of SIGKILL: it is left alone.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LONGEST_WAIT_S)

    def _is_member(self, pid: int) -> bool:
        try:
            if os.getsid(pid) == self.pid:
                return True
            return self._mark in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it has gone, or it is somebody else's
            return False

    def _kill_members(self, spared: int | None) -> int:
        killed: set[int] = set()
        deadline = time.monotonic() + _LONGEST_KILL_S
        while members := [pid for pid in self.members() if pid != spared]:
            for pid in members:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            killed.update(members)
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        return len(killed)


def how_ended(ended: os.waitid_result) -> str:
    """Return in words how a process ended, e.g. ``"ended with signal SIGSEGV"``."""
    if ended.si_code == os.CLD_EXITED:
        return f"ended with exit code {ended.si_status}"
    try:
        name = signal.Signals(ended.si_status).name
    except ValueError:
        name = str(ended.si_status)
    if ended.si_status == signal.SIGKILL:
        name += " (perhaps this computer ran out of memory)"
    return f"ended with signal {name}"


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        # The name in brackets may hold any character: the state follows the last bracket.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    return False


def _resident_mb(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * _PAGE_BYTES / _MB
    return 0.0


def _proportional_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
