"""The engine: reconstructs bursts in child processes and journals what they make."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.frame_times import Traversal
from xfusion_bluesky.documents.journal import JournalWriter, journal_path
from xfusion_bluesky.documents.processed import (
    BackendIdentity,
    ExitStatus,
    ProcessedRun,
    Verdict,
    attempt_uid,
    reconstruction_key,
)
from xfusion_bluesky.documents.raw import Burst
from xfusion_bluesky.processing.backend_process import BackendFailed, BackendProcess, Limits
from xfusion_bluesky.processing.discovery import Discovery, FoundBackend, discover
from xfusion_bluesky.processing.jobs import (
    Failed,
    Finished,
    ReconstructionJob,
    ShardWritten,
    Started,
)
from xfusion_bluesky.processing.ledger import Ledger, Reconstruction
from xfusion_bluesky.processing.schedule import Schedule
from xfusion_bluesky.processing.shards import DRAFT_SUFFIX
from xfusion_bluesky.processing.weights import pinned

__all__ = ["Engine"]

_LOG = logging.getLogger(__name__)
_MOST_ABORTS = 3


@dataclass(frozen=True)
class _Request:
    burst: Burst
    corrections: Corrections
    traversal: Traversal
    retry: bool


@dataclass(frozen=True)
class _Task:
    request: _Request
    entry: Reconstruction
    backend: BackendIdentity
    parameters: Mapping[str, Any]
    fallback_for: str | None

    @property
    def slot(self) -> str:
        """What is set aside: wild parameters of one request must not cost the others a backend."""
        return f"{self.backend.id} {json.dumps(self.parameters, sort_keys=True)}"


class Engine:
    """Reconstructs bursts with every configured backend; each reconstruction is a run.

    Plugins are looked for in a process of their own, at once and in the background: what needs
    them waits for that.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    ledger : Ledger
        Remembers what was done.
    """

    def __init__(self, configuration: Configuration, ledger: Ledger) -> None:
        self._configuration, self._ledger = configuration, ledger
        self._settings = configuration.reconstruction
        self._closing = threading.Event()
        self._claiming = threading.RLock()
        self._processes: dict[str, BackendProcess] = {}
        self._crashes: dict[str, int] = {}
        self._schedule = Schedule(self._settings.workers)
        self._found: Future[Discovery] = Future()
        self._search = threading.Thread(target=self._discover, name="discovery", daemon=True)
        self._search.start()

    @property
    def backends(self) -> tuple[str, ...]:
        """Ids of the backends that reconstruct each burst."""
        found = self._found.result()
        return tuple(
            backend_id
            for backend_id in self._settings.backends or found.available()
            if backend_id in found.backends
        )

    def warm(self) -> None:
        """Start the backends' processes soon, so that the first burst need not wait for imports."""
        self._found.add_done_callback(lambda _: self._warm())

    def submit(
        self,
        burst: Burst,
        corrections: Corrections | None = None,
        *,
        retry: bool = False,
        backends: Mapping[str, Mapping[str, Any]] | None = None,
        traversal: Traversal | None = None,
    ) -> list[str]:
        """Reconstruct a burst with every backend that has not done so; returns at once.

        Parameters
        ----------
        burst : Burst
            What to reconstruct.
        corrections : Corrections, optional
            References and calibration; without references, counts are fused.
        retry : bool
            Also try again what failed, even with a backend that was set aside. What was cut short
            is tried again up to three times.
        backends : mapping of str to mapping, optional
            Parameters of each backend to use, by id; by default those of the configuration.
        traversal : {"continuous", "double"}, optional
            How the burst is gone through; by default as configured.

        Returns
        -------
        list of str
            Uids of the processed runs that answer, one a backend: those that begin, those that
            run, and those that were made before.

        Raises
        ------
        UnknownBackendError
            No plugin offers one of `backends`; nothing begins.
        """
        if backends is None:
            backends = {each: self._parameters(each) for each in self.backends}
        for backend_id in backends:
            self._found.result().find(backend_id)
        request = _Request(
            burst, corrections or Corrections(), traversal or self._settings.traversal, retry
        )
        return [self._begin(request, each, values) for each, values in backends.items()]

    def close(self) -> None:
        """End everything that runs; what is cut short is stopped as ``abort``.

        What has not begun keeps its uid, and begins when it is submitted again.
        """
        with self._claiming:
            self._closing.set()
            self._schedule.close()
        for process in self._processes.values():
            process.close()
        self._schedule.join()
        self._search.join()
        for process in self._processes.values():
            process.stop()

    def _discover(self) -> None:
        try:
            found = discover(self._configuration.plugins, self._closing)
        except Exception:  # noqa: BLE001 - others wait for the answer
            _LOG.exception("The plugins could not be looked for: there is no backend")
            found = Discovery.nothing()
        for aside in found.quarantined:
            _LOG.warning(
                "Plugin %s is not used: %s; %s", aside.source.plugin, aside.reason, aside.fix
            )
        for backend_id in (*self._settings.backends, self._settings.fallback):
            if backend_id and backend_id not in found.backends and not self._closing.is_set():
                _LOG.error("No plugin offers the configured backend %r: left out", backend_id)
        self._found.set_result(found)

    def _warm(self) -> None:
        # One by one, and after whatever waits: together they would delay the first fused frame.
        for backend_id in self.backends:
            self._schedule.put(backend_id, self._process(backend_id).warm, when_idle=True)

    def _parameters(self, backend_id: str) -> Mapping[str, Any]:
        return self._settings.parameters.get(backend_id, {})

    def _process(self, backend_id: str) -> BackendProcess:
        with self._claiming:
            if backend_id not in self._processes:
                settings, folders = self._settings, self._configuration.folders
                self._processes[backend_id] = BackendProcess(
                    self._found.result().find(backend_id),
                    Limits(settings.deadline_s, settings.memory_mb, settings.log_limit_mb),
                    folders.state / "logs" / f"backend-{backend_id}.log",
                    self._configuration.tiled.api_key_env,
                )
            return self._processes[backend_id]

    def _begin(
        self,
        request: _Request,
        backend_id: str,
        parameters: Mapping[str, Any],
        fallback_for: str | None = None,
    ) -> str:
        """Schedule a reconstruction unless it was made; return the uid of the run that answers."""
        found = self._found.result().find(backend_id)
        if found.takes_weights:
            parameters = pinned(parameters)
        backend = _identity(found, parameters)
        burst = request.burst
        key = reconstruction_key(burst, backend, parameters, request.corrections, request.traversal)
        with self._claiming:
            last = self._ledger.last_attempt(key)
            if last is not None and not self._may_begin(last, request.retry):
                task = _Task(request, last, backend, parameters, fallback_for)
                if last.state == "fail":
                    self._fall_back(task)  # unless the service ended before it had
                return last.uid
            if last is not None and not self._has_begun(last):
                entry = last
                self._ledger.end(last.uid, "running")
            else:
                attempt = 1 if last is None else last.attempt + 1
                uid = attempt_uid(key, attempt)
                entry = Reconstruction(uid, key, attempt, burst.raw_uid, burst.seq_num)
                self._ledger.claim([entry])
            task = _Task(request, entry, backend, parameters, fallback_for)
            self._schedule.put(backend_id, partial(self._reconstruct, task))
        return entry.uid

    def _may_begin(self, last: Reconstruction, retry: bool) -> bool:
        if last.state == "abort":
            return retry or last.attempt < _MOST_ABORTS or not self._has_begun(last)
        return retry and last.state == "fail"

    def _has_begun(self, entry: Reconstruction) -> bool:
        path = journal_path(self._configuration.folders.journal, entry.uid)
        return path.exists() and path.stat().st_size > 0

    def _fall_back(self, failed: _Task) -> str | None:
        """Let the fallback answer for a failed run; return the uid of its run."""
        fallback = self._settings.fallback
        if fallback in ("", failed.backend.id) or fallback not in self._found.result().backends:
            return None
        return self._begin(
            failed.request, fallback, self._parameters(fallback), fallback_for=failed.entry.uid
        )

    def _reconstruct(self, task: _Task) -> None:
        state: ExitStatus = "fail"
        uid, backend_id = task.entry.uid, task.backend.id
        try:
            journal = JournalWriter(self._configuration.folders.journal, uid)
            try:
                run = ProcessedRun(
                    journal.append,
                    task.request.burst,
                    task.backend,
                    task.parameters,
                    task.entry.attempt,
                    corrections=task.request.corrections,
                    traversal=task.request.traversal,
                    fallback_for=task.fallback_for,
                )
                state, reason, verdict = self._outcome(task, run)
                if reason:
                    _LOG.error("Reconstruction %s by %s: %s", uid, backend_id, reason)
                # The fallback is claimed before this one ends: who waits for all sees it come.
                fallback_uid = self._fall_back(task) if state == "fail" else None
                run.stop(state, reason, fallback_uid=fallback_uid, verdict=verdict)
            finally:
                journal.close()
        except Exception:  # noqa: BLE001 - the ledger must know that it has ended
            _LOG.exception("Reconstruction %s by %s was not journaled", uid, backend_id)
        finally:
            self._ledger.end(uid, state)

    def _outcome(self, task: _Task, run: ProcessedRun) -> tuple[ExitStatus, str, Verdict | None]:
        crashes, most = self._crashes.get(task.slot, 0), self._settings.set_aside_after
        if most and crashes >= most and not task.request.retry:
            reason = (
                f"backend {task.backend.id} is set aside until the service starts again: its "
                f"process had to be killed, or died, {crashes} times in a row. The raw data are "
                "safe; ask for this reconstruction again to try nevertheless"
            )
            return "fail", reason, None
        try:
            answer = self._run(task, run)
            self._crashes.pop(task.slot, None)
            if isinstance(answer, Failed):
                reason = answer.what or "the backend failed and did not say why"
                return "fail", reason, None
            return "success", "", answer.verdict
        except Exception as error:  # noqa: BLE001 - whatever happened, the run says so and stops
            if self._closing.is_set():
                return "abort", "the processing service ended", None
            if isinstance(error, BackendFailed):
                self._crashes[task.slot] = crashes + 1
            return "fail", str(error) or type(error).__name__, None

    def _run(self, task: _Task, run: ProcessedRun) -> Finished | Failed:
        """Do a task and document its frames; return the last message of the backend."""
        folders, settings = self._configuration.folders, self._settings
        request, burst = task.request, task.request.burst
        # The uid, because nothing else differs between two calibrations or sets of parameters.
        name = f"{burst.seq_num}-{task.backend.id}-{task.entry.uid}"
        job = ReconstructionJob(
            burst=burst,
            corrections=request.corrections,
            traversal=request.traversal,
            parameters=dict(task.parameters),
            folder=folders.processed / burst.raw_uid / name,
            shard_frames=settings.shard_frames,
            shard_seconds=settings.shard_seconds,
            hold_out=settings.hold_out,
        )
        try:
            for message in self._process(task.backend.id).run(job):
                match message:
                    case Started(shape=shape, has_truth=has_truth):
                        run.describe(shape, has_truth)
                    case ShardWritten(file=file, frames=frames):
                        run.add_shard(file, frames)
                    case Failed():
                        _LOG.error("%s: %s", task.entry.uid, message.traceback)
                        return message
                    case Finished():
                        return message
            raise BackendFailed("the backend ended in the middle of its answer")
        finally:
            for draft in job.folder.glob(f"*{DRAFT_SUFFIX}"):
                draft.unlink(missing_ok=True)


def _identity(found: FoundBackend, parameters: Mapping[str, Any]) -> BackendIdentity:
    given = parameters.get("sha256") if found.takes_weights else None
    weights = given if isinstance(given, str) else found.weights
    return BackendIdentity(found.id, found.source.distribution, found.version, weights)
