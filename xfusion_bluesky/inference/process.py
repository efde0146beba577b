"""The process of one job, watched from outside: whatever a backend does ends here."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xfusion_bluesky.inference.jobs import (
    Failed,
    Finished,
    InferenceJob,
    Message,
    Refused,
    parse_message,
)
from xfusion_bluesky.processing.backend_log import BackendLog
from xfusion_bluesky.processing.contained import ContainedProcess, how_ended

__all__ = ["InferenceProcess", "Limits", "ProcessFailed"]

_READ_BYTES = 1 << 16
_MOST_WAITING_BYTES = 1 << 20
_LAST_READS = 256
_WATCH_S = 0.2
_WATCH_SHARE = 0.05
_END_S = 1.0


class ProcessFailed(RuntimeError):
    """The process ended, hung, grew too large or said nonsense; the message says which."""


@dataclass(frozen=True)
class Limits:
    """What a backend may take.

    Parameters
    ----------
    silence_s : float
        Longest time to load it, and for each frame.
    memory_mb : float
        Most resident memory of the process and its descendants, MB.
    log_mb : float
        Most that is kept of what it prints, MB.
    secret : str
        Name of an environment variable that it must not see.
    """

    silence_s: float
    memory_mb: float
    log_mb: float
    secret: str


class InferenceProcess:
    """A process that does one job; leaving the context kills it and all it started.

    Parameters
    ----------
    job : InferenceJob
        What to do.
    limits : Limits
        It is killed beyond them.
    """

    def __init__(self, job: InferenceJob, limits: Limits) -> None:
        self._limits = limits
        self._messages, messages_in = os.pipe()
        self._output, output_in = os.pipe()
        command = [sys.executable, "-m", "xfusion_bluesky.inference.worker"]
        command += ["--job", job.model_dump_json(), "--fd", str(messages_in)]
        command += ["--limit", str(limits.silence_s)]
        hidden = (limits.secret, "TILED_API_KEY")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        try:
            self._process = ContainedProcess(
                command, pass_fds=(messages_in,), output=output_in, environment=environment
            )
        except BaseException:
            os.close(self._messages)
            os.close(self._output)
            raise
        finally:
            os.close(messages_in)
            os.close(output_in)
        os.set_blocking(self._output, False)
        self._log: BackendLog | None = None
        self._said = self._printed = b""
        self._prints, self._next_watch_s = True, 0.0

    def __enter__(self) -> InferenceProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        for _read in range(_LAST_READS):
            if not self._prints or not self._print():
                break
        if self._log is not None:
            self._log.end()
        os.close(self._messages)
        os.close(self._output)

    def keep_output(self, file: Path, title: str) -> None:
        """Write what the backend prints into a file, what it has printed before too."""
        self._log = BackendLog(file, self._limits.log_mb)
        self._log.begin(title)
        self._log.take(self._printed)
        self._printed = b""

    def messages(self) -> Iterator[Message]:
        """Yield what it says, the last one `Finished`, `Failed` or `Refused`.

        Raises
        ------
        ProcessFailed
            It did not come to that.
        """
        while True:
            line = self._line()
            try:
                message = parse_message(line)
            except ValueError as error:
                raise ProcessFailed(f"its process said nonsense: {line[:80]!r}") from error
            yield message
            if isinstance(message, Finished | Failed | Refused):
                return

    def _line(self) -> bytes:
        deadline = time.monotonic() + self._limits.silence_s
        while b"\n" not in self._said:
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"its process was killed: nothing came for {self._limits.silence_s:g} s "
                    "(deadline_s)"
                )
            if len(self._said) > _MOST_WAITING_BYTES:
                raise ProcessFailed("its process said nonsense: a line without end")
            ready = self._ready()
            if self._output in ready:
                self._print()
            if self._messages in ready:
                new = os.read(self._messages, _READ_BYTES)
                if not new:
                    raise ProcessFailed(self._how_ended())
                self._said += new
            self._watch(bool(ready))
        line, _, self._said = self._said.partition(b"\n")
        return line

    def _ready(self) -> set[int]:
        poll = select.poll()
        poll.register(self._messages, select.POLLIN)
        if self._prints:
            poll.register(self._output, select.POLLIN)
        return {fd for fd, _ in poll.poll(1000 * _WATCH_S)}

    def _print(self) -> bool:
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        self._prints = bool(data)
        if self._log is not None:
            self._log.take(data)
        else:
            self._printed = (self._printed + data)[:_MOST_WAITING_BYTES]
        return self._prints

    def _watch(self, busy: bool) -> None:
        begin_s = time.monotonic()
        if begin_s < self._next_watch_s:
            return
        # Something that it started may hold the pipe open when it has gone.
        if self._process.ended() and not busy:
            raise ProcessFailed(self._how_ended())
        limit_mb = self._limits.memory_mb
        if used_mb := self._process.memory_over(limit_mb):
            raise ProcessFailed(
                f"its process was killed: it used {used_mb:.0f} MB of memory, the limit is "
                f"{limit_mb:.0f} MB (memory_limit_mb)"
            )
        now_s = time.monotonic()
        self._next_watch_s = now_s + max(_WATCH_S, (now_s - begin_s) / _WATCH_SHARE)

    def _how_ended(self) -> str:
        ended = self._process.ends_within(_END_S)
        return f"its process {'closed its pipe' if ended is None else how_ended(ended)}"
