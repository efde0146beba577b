"""A warm child process that runs one backend, watched from outside."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xfusion_bluesky.processing.backend_log import BackendLog
from xfusion_bluesky.processing.contained import ContainedProcess, how_ended
from xfusion_bluesky.processing.discovery import FoundBackend
from xfusion_bluesky.processing.jobs import (
    Conversation,
    Failed,
    Finished,
    Message,
    Ready,
    ReconstructionJob,
    Working,
    parse_message,
)

__all__ = ["BackendFailed", "BackendProcess", "Limits"]

_LOG = logging.getLogger(__name__)
_READ_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 22
_LAST_READS = 256
_WATCH_S = 0.2
_END_S = 1.0
# Looking at all processes must not become work of its own on a busy computer.
_WATCH_SHARE = 0.05


class BackendFailed(RuntimeError):
    """A backend process ended, hung, grew too large or said nonsense, and has been killed."""


@dataclass(frozen=True)
class Limits:
    """What a backend may take.

    Parameters
    ----------
    deadline_s : float
        Longest time from the beginning of a job to its first frame, and from each to the next.
    memory_mb : float
        Most resident memory of the process and its descendants together, MB.
    log_mb : float
        Most that is kept of what it prints in a job, MB.
    start_s : float
        Longest time to load the plugin.
    """

    deadline_s: float
    memory_mb: float
    log_mb: float = 1.0
    start_s: float = 60.0


class BackendProcess:
    """A process that runs one backend, job by job; started when first needed.

    Parameters
    ----------
    backend : FoundBackend
        Which one; no other plugin is loaded.
    limits : Limits
        It is killed beyond them.
    log : Path
        File for what it prints.
    secret : str
        Name of an environment variable that it must not see.
    """

    def __init__(self, backend: FoundBackend, limits: Limits, log: Path, secret: str) -> None:
        self._backend, self._limits, self._secret = backend, limits, secret
        self._log = BackendLog(log, limits.log_mb)
        self._lock = threading.Lock()
        self._process: ContainedProcess | None = None
        self._closed = False
        self._jobs = self._messages = self._output = -1

    @property
    def pid(self) -> int | None:
        """Process id, or None while there is no process."""
        process = self._process
        return None if process is None else process.pid

    def run(self, job: ReconstructionJob) -> Iterator[Message]:
        """Do a job; yield its messages, the last one `Finished` or `Failed`.

        Whatever the backend has started is dead before the last message is given. After a failure
        so is the process: nobody knows in which state the backend left it, or its GPU.

        Parameters
        ----------
        job : ReconstructionJob
            What to do.

        Raises
        ------
        BackendFailed
            The process ended, took too long or too much, or said nonsense. The next job gets a
            new one.
        """
        done = False
        self._log.begin(str(job.folder))
        try:
            for message in self._conversation(job):
                done = isinstance(message, Finished)
                if done:
                    self._settle()
                elif isinstance(message, Failed):
                    self.stop()
                yield message
        finally:
            if not done:
                self.stop()
            self._log.end()

    def start(self) -> None:
        """Start the process, unless it runs and is quiet.

        Raises
        ------
        BackendFailed
            `close` was called.
        """
        if self._process is not None and (self._process.ended() or self._unasked()):
            self.stop()
        with self._lock:
            if self._closed:
                raise BackendFailed("the processing service ended")
            if self._process is None:
                self._spawn()

    def warm(self) -> None:
        """Start the process and wait until it has loaded its plugin; `run` tells of a failure."""
        try:
            self.start()
            self._await_ready()
        except BackendFailed:
            self.stop()

    def stop(self) -> None:
        """Kill the process and all it started, if it runs."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.stop()
                self._print_rest()
                for pipe in (self._jobs, self._messages, self._output):
                    os.close(pipe)

    def close(self) -> None:
        """Kill the process, from any thread, and start no other: `run` raises BackendFailed."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _spawn(self) -> None:
        jobs_out, self._jobs = os.pipe()
        self._messages, messages_in = os.pipe()
        self._output, output_in = os.pipe()
        source = self._backend.source
        command = [sys.executable, "-m", "xfusion_bluesky.processing.worker"]
        command += ["--plugin", source.model_dump_json(), "--backend", self._backend.id]
        command += ["--start-limit", str(self._limits.start_s)]
        command += ["--job-limit", str(self._limits.deadline_s)]
        command += ["--fd-in", str(jobs_out), "--fd-out", str(messages_in)]
        environment = {k: v for k, v in os.environ.items() if k != self._secret}
        environment.pop("TILED_API_KEY", None)
        threads = str(max(1, (os.cpu_count() or 2) - 1))
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = threads
        try:
            self._process = ContainedProcess(
                command,
                pass_fds=(jobs_out, messages_in),
                output=output_in,
                environment=environment,
            )
        except BaseException:
            for pipe in (self._jobs, self._messages, self._output):
                os.close(pipe)
            raise
        finally:
            for pipe in (jobs_out, messages_in, output_in):
                os.close(pipe)
        for pipe in (self._jobs, self._messages, self._output):
            os.set_blocking(pipe, False)
        self._said, self._to_say, self._ready = b"", memoryview(b""), False
        self._prints, self._next_watch_s = True, 0.0

    def _unasked(self) -> bool:
        """Whether it has said something since its last job."""
        return self._ready and (bool(self._said) or _can_read(self._messages))

    def _conversation(self, job: ReconstructionJob) -> Iterator[Message]:
        self.start()
        self._await_ready()
        self._to_say = memoryview(job.line())
        limit_s = self._limits.deadline_s
        too_late = f"was killed after the deadline of {limit_s:g} s without a frame (deadline_s)"
        conversation = Conversation(job)
        while True:
            message = self._next(time.monotonic() + limit_s, too_late)
            try:
                conversation.check(message)
            except ValueError as error:
                raise BackendFailed(f"backend process said nonsense: {error}") from error
            if isinstance(message, Working):
                continue
            yield message
            if isinstance(message, Finished | Failed):
                return

    def _await_ready(self) -> None:
        if self._ready:
            return
        limit_s = self._limits.start_s
        message = self._next(time.monotonic() + limit_s, f"did not load in {limit_s:g} s")
        if not isinstance(message, Ready):
            raise BackendFailed(f"backend process said nonsense: {message.kind!r} at its start")
        self._ready = True

    def _next(self, deadline: float, too_late: str) -> Message:
        line = self._line(deadline, too_late)
        try:
            return parse_message(line)
        except ValueError as error:
            raise BackendFailed(f"backend process said nonsense: {line[:80]!r}") from error

    def _line(self, deadline: float, too_late: str) -> bytes:
        """Wait for the next line, while the job is sent and what is printed is taken."""
        while b"\n" not in self._said:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise BackendFailed(f"backend process {too_late}")
            if len(self._said) > _LONGEST_LINE_BYTES:
                raise BackendFailed("backend process said nonsense: a line without end")
            ready = self._wait(min(left_s, _WATCH_S))
            if self._output in ready:
                self._print()
            if self._jobs in ready:
                self._say()
            if self._messages in ready:
                new = os.read(self._messages, _READ_BYTES)
                if not new:
                    raise BackendFailed(self._how_ended())
                self._said += new
            self._watch()
        line, _, self._said = self._said.partition(b"\n")
        return line

    def _wait(self, timeout_s: float) -> set[int]:
        poll = select.poll()
        poll.register(self._messages, select.POLLIN)
        if self._prints:
            poll.register(self._output, select.POLLIN)
        if self._to_say:
            poll.register(self._jobs, select.POLLOUT)
        return {fd for fd, _ in poll.poll(1000 * timeout_s)}

    def _say(self) -> None:
        try:
            self._to_say = self._to_say[os.write(self._jobs, self._to_say) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it has gone; why is seen elsewhere
            self._to_say = memoryview(b"")

    def _print(self) -> bool:
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        self._log.take(data)
        self._prints = bool(data)
        return self._prints

    def _print_rest(self) -> None:
        for _ in range(_LAST_READS):
            if not self._prints or not self._print():
                return

    def _watch(self) -> None:
        begin_s = time.monotonic()
        if self._process is None or begin_s < self._next_watch_s:
            return
        if self._process.ended() and not _can_read(self._messages):
            raise BackendFailed(self._how_ended())
        limit_mb = self._limits.memory_mb
        if used_mb := self._process.memory_over(limit_mb):
            raise BackendFailed(
                f"backend process used {used_mb:.0f} MB of memory, the limit is {limit_mb:.0f} MB "
                "(memory_limit_mb): it was killed"
            )
        now_s = time.monotonic()
        self._next_watch_s = now_s + max(_WATCH_S, (now_s - begin_s) / _WATCH_SHARE)

    def _settle(self) -> None:
        if self._process is not None and (stragglers := self._process.end_stragglers()):
            _LOG.warning(
                "Backend %s left %d processes behind: killed", self._backend.id, stragglers
            )
        self._print_rest()

    def _how_ended(self) -> str:
        ended = None if self._process is None else self._process.ends_within(_END_S)
        if ended is None:
            return "backend process closed its pipe"
        return f"backend process {how_ended(ended)}; its log is {self._log.path}"


def _can_read(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))
