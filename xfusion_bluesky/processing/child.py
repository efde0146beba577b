"""Child processes: started and awaited, ended by their process id, never outliving their parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Ready = TypeVar("Ready")

_POLL_S = 0.02
_TAIL_BYTES = 4000


class ProcessStartError(RuntimeError):
    """A child process did not become ready; the message carries the end of its log."""


def start_process(
    command: Sequence[str],
    *,
    what: str,
    log: Path,
    ready: Callable[[subprocess.Popen[bytes]], Ready | None],
    timeout_s: float,
    detached: bool = False,
    environment: Mapping[str, str] | None = None,
) -> tuple[subprocess.Popen[bytes], Ready]:
    """Start a child process and wait until it is ready.

    The child gets a session of its own, so that Ctrl-C at the terminal (which pauses a Bluesky
    plan) does not end it. Unless `detached`, its standard input is a pipe held by this process:
    a child that calls `exit_with_parent` ends when this process does, however it ends.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    what : str
        Name of the process for error messages, e.g. ``"the embedded Tiled server"``.
    log : Path
        File to which standard output and error are appended; its folder is made.
    ready : callable
        Asked again and again with the process; None while it is not ready, then the answer.
    timeout_s : float
        Longest wait; the child is ended when it takes longer.
    detached : bool
        The child may outlive this process.
    environment : mapping, optional
        Whole environment of the child; that of this process by default.

    Returns
    -------
    process : subprocess.Popen
    answer : object
        What `ready` returned.

    Raises
    ------
    ProcessStartError
        The child ended before it was ready, or was not ready within `timeout_s`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        log_start = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + timeout_s
        while (answer := ready(process)) is None:
            if process.poll() is not None:
                why = f"it ended with code {process.returncode}"
                raise ProcessStartError(_start_error(what, command, why, log, log_start))
            if time.monotonic() > deadline:
                why = f"it was not ready within {timeout_s:g} s"
                raise ProcessStartError(_start_error(what, command, why, log, log_start))
            time.sleep(_POLL_S)
    except BaseException:
        stop_process(process, timeout_s=2.0)
        raise
    return process, answer


def _start_error(what: str, command: Sequence[str], why: str, log: Path, log_start: int) -> str:
    tail = log_tail(log, log_start) or "(it wrote nothing)"
    return (
        f"Could not start {what}: {why}.\nCommand: {' '.join(command)}\nEnd of its log {log}:\n"
        f"{tail}\nCorrect what the log names and start again; no data have been changed."
    )


def log_tail(log: Path, start: int = 0) -> str:
    """Return the last few kilobytes of a log file, not before byte `start`."""
    with log.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(min(start, end), end - _TAIL_BYTES))
        return stream.read().decode(errors="replace").strip()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not yet collected does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    # The name in brackets may hold any character: the state follows the last bracket.
    return state.rpartition(")")[2].split()[0] != "Z"


def stop_process(process: subprocess.Popen[bytes] | int, timeout_s: float) -> None:
    """End one process: politely (SIGTERM), then, after `timeout_s`, by force (SIGKILL).

    Parameters
    ----------
    process : subprocess.Popen or int
        The process, or its id when this process did not start it. One that has ended is fine.
    timeout_s : float
        How long it may take to end by itself.
    """
    if isinstance(process, int):
        _stop_pid(process, timeout_s)
        return
    process.terminate()
    if process.stdin is not None:
        # A broken pipe only says that the child has gone.
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _stop_pid(pid: int, timeout_s: float) -> None:
    for number, limit_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + limit_s
        while is_alive(pid):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        else:
            return
    raise TimeoutError(
        f"Process {pid} does not end, not even by SIGKILL: it probably hangs in a disk or network "
        "access. Look at it with `ps`; nothing of ours waits for it any longer."
    )


def exit_with_parent(grace_s: float = 5.0) -> None:
    """End this process when its standard input closes, i.e. when its parent has gone.

    The end is a SIGTERM to itself, so that the usual clean-up runs; a process that is still
    there after `grace_s` seconds is ended hard.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
