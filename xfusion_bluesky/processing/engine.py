"""The engine: reconstructs bursts in child processes and journals what they make."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.configuration import Configuration, Plugins
from xfusion_bluesky.documents.journal import JournalWriter
from xfusion_bluesky.documents.processed import (
    BackendIdentity,
    ExitStatus,
    ProcessedRun,
    attempt_uid,
    reconstruction_key,
)
from xfusion_bluesky.documents.raw import Burst
from xfusion_bluesky.processing.jobs import (
    Failed,
    Finished,
    Message,
    ReconstructionJob,
    ShardWritten,
    Started,
    parse_message,
)
from xfusion_bluesky.processing.ledger import Ledger, Reconstruction

_LOG = logging.getLogger(__name__)
_MOST_ABORTS = 3
_READ_BYTES = 1 << 16


class BackendFailed(RuntimeError):
    """A backend process ended, hung or said nonsense."""


class BackendProcess:
    """A warm child process that runs one backend; started when first needed.

    Parameters
    ----------
    backend_id : str
        Which one.
    plugins : Plugins
        Which plugins it may load.
    log : Path
        File for what the backend prints.
    secret : str
        Name of an environment variable that the child must not see.
    """

    def __init__(self, backend_id: str, plugins: Plugins, log: Path, secret: str) -> None:
        self._command = [sys.executable, "-m", "xfusion_bluesky.processing.worker"]
        self._command += ["--backend", backend_id]
        for name in plugins.allow or ():
            self._command += ["--allow", name]
        for name in plugins.block:
            self._command += ["--block", name]
        self._log, self._secret = log, secret
        self._process: subprocess.Popen[bytes] | None = None
        self._to_child = self._from_child = -1

    def run(self, job: ReconstructionJob, deadline_s: float) -> Iterator[Message]:
        """Do a job; yield its messages, the last one `Finished` or `Failed`.

        Parameters
        ----------
        job : ReconstructionJob
            What to do.
        deadline_s : float
            Longest time; the process is killed after it.

        Raises
        ------
        BackendFailed
            The process ended, took too long, or said nonsense. The next job gets a new one.
        """
        deadline = time.monotonic() + deadline_s
        done = False
        try:
            self.start()
            os.set_blocking(self._to_child, True)
            line = memoryview(job.line())
            while line:
                line = line[os.write(self._to_child, line) :]
            for text in self._lines(deadline, deadline_s):
                message = parse_message(text)
                done = isinstance(message, Finished | Failed)
                yield message
                if done:
                    return
        except BrokenPipeError as error:
            raise BackendFailed(self._how_ended()) from error
        except ValueError as error:
            raise BackendFailed(f"backend process said nonsense: {error}") from error
        finally:
            if not done:
                self.stop()

    def stop(self) -> None:
        """Kill the process, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            os.close(self._to_child)
            os.close(self._from_child)

    def kill(self) -> None:
        """Kill the process from another thread: `run` then raises BackendFailed."""
        process = self._process
        if process is not None:
            process.kill()

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        jobs_out, jobs_in = os.pipe()
        messages_out, messages_in = os.pipe()
        threads = str(max(1, (os.cpu_count() or 2) - 1))
        environment = {k: v for k, v in os.environ.items() if k != self._secret}
        environment.pop("TILED_API_KEY", None)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = threads
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*self._command, "--fd-in", str(jobs_out), "--fd-out", str(messages_in)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    pass_fds=(jobs_out, messages_in),
                    start_new_session=True,
                )
        except BaseException:
            os.close(jobs_in)
            os.close(messages_out)
            raise
        finally:
            os.close(jobs_out)
            os.close(messages_in)
        self._to_child, self._from_child = jobs_in, messages_out

    def _lines(self, deadline: float, deadline_s: float) -> Iterator[bytes]:
        data = b""
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._from_child], [], [], left_s)[0]:
                raise BackendFailed(f"it was killed after the deadline of {deadline_s:g} s")
            new = os.read(self._from_child, _READ_BYTES)
            if not new:
                raise BackendFailed(self._how_ended())
            *lines, data = (data + new).split(b"\n")
            yield from lines

    def _how_ended(self) -> str:
        if self._process is None:
            return "backend process ended"
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "backend process closed its pipe"
        if code < 0:
            return f"backend process ended with signal {signal.Signals(-code).name}"
        return f"backend process ended with exit code {code}; its log is {self._log}"


class Engine:
    """Reconstructs bursts with every configured backend; each reconstruction is a run.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    ledger : Ledger
        Remembers what was done.
    """

    def __init__(self, configuration: Configuration, ledger: Ledger) -> None:
        self._configuration, self._ledger = configuration, ledger
        self._closing = threading.Event()
        plugins, settings = configuration.plugins, configuration.reconstruction
        registry = Registry.discover(plugins.allow, plugins.block)
        for aside in registry.quarantined:
            _LOG.warning("Plugin %s is not used: %s; %s", aside.plugin, aside.reason, aside.fix)
        self._backends: dict[str, BackendIdentity] = {}
        for backend_id in settings.backends or registry.available():
            found = registry.factories.get(backend_id)
            if found is None:
                _LOG.error("No plugin offers the configured backend %r: left out", backend_id)
                continue
            info = found.factory.info
            weights = None if info.weights is None else info.weights.sha256
            self._backends[backend_id] = BackendIdentity(
                backend_id, found.distribution, info.version, weights
            )
        state = configuration.folders.state
        self._processes = {
            backend_id: BackendProcess(
                backend_id,
                plugins,
                state / "logs" / f"backend-{backend_id}.log",
                configuration.tiled.api_key_env,
            )
            for backend_id in self._backends
        }
        self._locks = {backend_id: threading.Lock() for backend_id in self._backends}
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="reconstruction")

    @property
    def backends(self) -> tuple[str, ...]:
        """Ids of the backends that reconstruct each burst."""
        return tuple(self._backends)

    def warm(self) -> None:
        """Start the backends' processes now, so that the first burst need not wait for imports."""
        for backend_id in self._backends:
            self._pool.submit(self._warm, backend_id)

    def submit(
        self, burst: Burst, dark: Burst | None, flat: Burst | None, *, retry: bool = False
    ) -> list[str]:
        """Reconstruct a burst with every backend that has not done so; returns at once.

        Parameters
        ----------
        burst : Burst
            What to reconstruct.
        dark, flat : Burst or None
            References; without both, counts are fused.
        retry : bool
            Also try again what failed. What was cut short is tried again up to three times.

        Returns
        -------
        list of str
            Uids of the processed runs that begin.
        """
        begun: list[tuple[str, Reconstruction]] = []
        for backend_id, identity in self._backends.items():
            key = reconstruction_key(burst, identity, self._parameters(backend_id))
            last = self._ledger.last_attempt(key)
            attempt = 1 if last is None else last.attempt + 1
            if last is not None and not _may_retry(last, retry):
                continue
            uid = attempt_uid(key, attempt)
            entry = Reconstruction(uid, key, attempt, burst.raw_uid, burst.seq_num)
            begun.append((backend_id, entry))
        self._ledger.claim([entry for _, entry in begun])
        for backend_id, entry in begun:
            self._pool.submit(self._reconstruct, backend_id, entry, burst, dark, flat)
        return [entry.uid for _, entry in begun]

    def close(self) -> None:
        """End everything that runs; what is cut short is stopped as ``abort``."""
        self._closing.set()
        for process in self._processes.values():
            process.kill()
        self._pool.shutdown(wait=True)
        for process in self._processes.values():
            process.stop()

    def _warm(self, backend_id: str) -> None:
        with self._locks[backend_id]:
            if not self._closing.is_set():
                self._processes[backend_id].start()

    def _parameters(self, backend_id: str) -> dict[str, Any]:
        return self._configuration.reconstruction.parameters.get(backend_id, {})

    def _reconstruct(
        self,
        backend_id: str,
        entry: Reconstruction,
        burst: Burst,
        dark: Burst | None,
        flat: Burst | None,
    ) -> None:
        state: ExitStatus = "fail"
        try:
            journal = JournalWriter(self._configuration.folders.journal, entry.uid)
            try:
                run = ProcessedRun(
                    journal.append,
                    burst,
                    self._backends[backend_id],
                    self._parameters(backend_id),
                    entry.attempt,
                )
                state, reason = self._outcome(backend_id, entry, run, burst, dark, flat)
                if reason:
                    _LOG.error("Reconstruction %s by %s: %s", entry.uid, backend_id, reason)
                run.stop(state, reason)
            finally:
                journal.close()
        except Exception:  # noqa: BLE001 - nobody looks at the future; the log is read
            _LOG.exception("Reconstruction %s by %s was not journaled", entry.uid, backend_id)
        finally:
            self._ledger.end(entry.uid, state)

    def _outcome(
        self,
        backend_id: str,
        entry: Reconstruction,
        run: ProcessedRun,
        burst: Burst,
        dark: Burst | None,
        flat: Burst | None,
    ) -> tuple[ExitStatus, str]:
        settings = self._configuration.reconstruction
        name = f"{burst.seq_num}-{backend_id}-{entry.attempt}"
        job = ReconstructionJob(
            burst=burst,
            dark=dark,
            flat=flat,
            parameters=self._parameters(backend_id),
            folder=self._configuration.folders.processed / burst.raw_uid / name,
            shard_frames=settings.shard_frames,
            shard_seconds=settings.shard_seconds,
        )
        try:
            with self._locks[backend_id]:
                if self._closing.is_set():
                    return "abort", "the processing service ended"
                for message in self._processes[backend_id].run(job, settings.deadline_s):
                    match message:
                        case Started(shape=shape, has_truth=has_truth):
                            run.describe(shape, has_truth)
                        case ShardWritten(file=file, frames=frames):
                            run.add_shard(file, frames)
                        case Failed(what=what):
                            _LOG.error("%s: %s", entry.uid, message.traceback)
                            return "fail", what
            return "success", ""
        except Exception as error:  # noqa: BLE001 - whatever happened, the run says so and stops
            if self._closing.is_set():
                return "abort", "the processing service ended"
            return "fail", str(error) or type(error).__name__


def _may_retry(last: Reconstruction, retry: bool) -> bool:
    if last.state == "abort":
        return retry or last.attempt < _MOST_ABORTS
    return retry and last.state == "fail"
