"""The process in which one backend runs: jobs come through a pipe, frames go to files."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import queue
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from xfusion_bluesky.backends.contract import Backend, BackendInfo, FusedFrame
from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.documents.processed import FrameRecord
from xfusion_bluesky.documents.sequence import burst_sequence, truth_of
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.holdout import HeldOutPass, double_passes
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.processing.discovery import PluginName, entry_points
from xfusion_bluesky.processing.jobs import (
    Failed,
    Finished,
    Message,
    Ready,
    ReconstructionJob,
    Started,
    Working,
)
from xfusion_bluesky.processing.judge import HeldOutTruth, Judge, Truth
from xfusion_bluesky.processing.plugin_errors import in_words, printable
from xfusion_bluesky.processing.shards import ShardWriter, require_space

_NICENESS = 10
_TRACEBACK_CHARACTERS = 2000
_GRACE_S = 30.0


def reconstruct(
    registry: Registry, backend_id: str, job: ReconstructionJob, tell: Callable[[Message], None]
) -> None:
    """Do one job and tell how it goes, `Finished` or `Failed` at the end.

    Parameters
    ----------
    registry : Registry
        Has the backend.
    backend_id : str
        Which one.
    job : ReconstructionJob
        What to do.
    tell : callable
        Gets each message.
    """
    try:
        finished = _reconstruct(registry, backend_id, job, tell)
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit too
        tail = printable(traceback.format_exc()[-_TRACEBACK_CHARACTERS:])
        tell(Failed(what=in_words(error), traceback=tail))
    else:
        tell(finished)


def _reconstruct(
    registry: Registry, backend_id: str, job: ReconstructionJob, tell: Callable[[Message], None]
) -> Finished:
    backend = _Heard(registry.create(backend_id, job.parameters), tell)
    corrected = job.corrections.gives_transmission
    with burst_sequence(job.burst, job.corrections) as sequence:
        targets = job.targets
        job.folder.mkdir(parents=True, exist_ok=True)
        require_space(job.folder, len(targets), sequence.shape)
        passes = double_passes(sequence) if job.traversal == "double" else ()
        truth: Truth | None = None
        if passes:
            truth = HeldOutTruth(sequence, {i: j for each in passes for i, j in each.held.items()})
        elif corrected:
            truth = truth_of(job.burst, sequence.pixel_map)
        judge = Judge(
            sequence,
            truth,
            () if corrected else ("uncorrected",),
            job.corrections.flags(job.burst),
        )
        tell(Started(shape=sequence.shape, has_truth=judge.has_truth))
        shards = ShardWriter(job, tell)
        made = (
            _held_out(backend, judge, passes)
            if passes
            else _continuous(backend, judge, sequence, targets)
        )
        valid = 0
        try:
            for image, record in made:
                valid += record.valid
                shards.add(image, record)
        finally:
            shards.flush()
        # What would be held out is what was made.
        verdict = judge.verdict(backend, hold_out=job.hold_out and not passes)
        return Finished(made=valid, masked=len(targets) - valid, verdict=verdict)


@dataclass(frozen=True)
class _Heard:
    """A backend that gives a sign of life with each frame, whoever asks for it."""

    backend: Backend
    tell: Callable[[Message], None]

    @property
    def info(self) -> BackendInfo:
        return self.backend.info

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        frames = self.backend.reconstruct(sequence, targets)
        # What is no iterator is found out by whoever checks the frames.
        return map(self._hear, frames) if isinstance(frames, Iterable) else frames

    def _hear(self, frame: FusedFrame) -> FusedFrame:
        self.tell(Working())
        return frame


def _continuous(
    backend: Backend, judge: Judge, sequence: DualSequence, targets: Sequence[int]
) -> Iterator[tuple[Float32Array, FrameRecord]]:
    for timed in checked_frames(backend, sequence, targets):
        yield timed.frame.image, judge.record(timed)


def _held_out(
    backend: Backend, judge: Judge, passes: Sequence[HeldOutPass]
) -> Iterator[tuple[Float32Array, FrameRecord]]:
    """Yield the frames of all passes in the order of time; those of the first wait in memory."""
    first, second = (_of_pass(backend, judge, each) for each in passes)
    waiting = deque(first)
    yield waiting.popleft()
    for frame in second:
        yield frame
        if waiting:
            yield waiting.popleft()


def _of_pass(
    backend: Backend, judge: Judge, held_out: HeldOutPass
) -> Iterator[tuple[Float32Array, FrameRecord]]:
    record = judge.of_pass(held_out)
    for timed in checked_frames(backend, held_out.sequence, list(held_out.held)):
        yield timed.frame.image, record(timed)


def main(arguments: list[str] | None = None) -> None:
    """Serve one backend until the pipe with the jobs closes.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name.
    """
    parser = argparse.ArgumentParser(description="Run one backend, for the processing service.")
    parser.add_argument("--plugin", required=True, help="name of the plugin that has it, JSON")
    parser.add_argument("--backend", required=True, help="id")
    parser.add_argument("--fd-in", type=int, required=True, help="file descriptor with jobs")
    parser.add_argument("--fd-out", type=int, required=True, help="file descriptor for messages")
    parser.add_argument("--start-limit", type=float, required=True, help="longest start, s")
    parser.add_argument("--job-limit", type=float, required=True, help="longest silence, s")
    options = parser.parse_args(arguments)
    os.nice(_NICENESS)
    for pipe in (options.fd_in, options.fd_out):
        os.set_inheritable(pipe, False)
    faulthandler.enable()
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        with os.fdopen(options.fd_in, "rb") as stream:
            for line in stream:
                jobs.put(line)
        # The engine has gone: nobody wants the result, however long it would still take.
        os._exit(0)

    threading.Thread(target=listen, name="jobs", daemon=True).start()
    _limit(options.start_limit)
    plugin = PluginName.model_validate_json(options.plugin)
    registry = Registry.from_entry_points(e for name, e in entry_points() if name == plugin)
    with os.fdopen(options.fd_out, "wb", buffering=0) as out:

        def tell(message: Message) -> None:
            view = memoryview(message.line())
            while view:
                view = view[out.write(view) or 0 :]

        def flush_and_tell(message: Message) -> None:
            # What the backend has printed belongs to this job, not to the next.
            if isinstance(message, Finished | Failed):
                for stream in (sys.stdout, sys.stderr):
                    with contextlib.suppress(Exception):
                        stream.flush()
            _limit(options.job_limit)
            tell(message)

        tell(Ready())
        while True:
            _limit(0)
            job = ReconstructionJob.model_validate_json(jobs.get())
            _limit(options.job_limit)
            reconstruct(registry, options.backend, job, flush_and_tell)


def _limit(seconds: float) -> None:
    # A plugin may hang where no Python runs, and the engine that would kill it may have gone.
    signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_S if seconds else 0)


if __name__ == "__main__":
    main()
