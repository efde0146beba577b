"""The process in which one backend runs: jobs come through a pipe, frames go to files."""

from __future__ import annotations

import argparse
import math
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import h5py
import numpy as np
import numpy.typing as npt

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import TimedFrame, checked_frames
from xfusion_bluesky.documents.processed import DATASET, FrameRecord
from xfusion_bluesky.documents.sequence import TruthSource, burst_sequence, truth_of
from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.metrics import Normalisation, aad, lr_consistency, psnr, ssim
from xfusion_bluesky.fusion.sequence import DualSequence, NoHRFrameError
from xfusion_bluesky.processing.jobs import (
    Failed,
    Finished,
    Message,
    ReconstructionJob,
    ShardWritten,
    Started,
)

_NICENESS = 10
_TRACEBACK_CHARACTERS = 2000
_SMALLEST_SSIM_SIDE_PX = 11


class ShardWriter:
    """Collects fused frames and writes them in files that are complete when they get their name.

    Parameters
    ----------
    job : ReconstructionJob
        Says where to, and how many frames at most.
    tell : callable
        Gets each `ShardWritten`.
    """

    def __init__(self, job: ReconstructionJob, tell: Callable[[Message], None]) -> None:
        self._job, self._tell = job, tell
        self._images: list[Float32Array] = []
        self._records: list[FrameRecord] = []
        self._shards = self._written = 0
        self._begin_s = time.monotonic()
        job.folder.mkdir(parents=True, exist_ok=True)

    def add(self, image: Float32Array, record: FrameRecord) -> None:
        """Take the next frame; write a file when it is full or has waited long enough."""
        self._images.append(image)
        self._records.append(record)
        late = time.monotonic() - self._begin_s >= self._job.shard_seconds
        if late or len(self._images) >= self._job.shard_frames:
            self.flush()

    def flush(self) -> None:
        """Write the frames that wait."""
        if self._images:
            path = self._job.folder / f"shard_{self._shards:03d}.h5"
            _write(path, self._images)
            records = tuple(self._records)
            self._tell(ShardWritten(file=path, first=self._written, frames=records))
            self._written += len(records)
            self._shards += 1
            self._images, self._records = [], []
        self._begin_s = time.monotonic()


def _write(path: Path, images: Sequence[Float32Array]) -> None:
    draft = path.with_name(path.name + ".part")
    draft.unlink(missing_ok=True)
    with h5py.File(draft, "w", locking=False) as file:
        shape = (len(images), *images[0].shape)
        chunks = (1, *images[0].shape)
        data = file.create_dataset(DATASET, shape, dtype=np.float32, chunks=chunks)
        for k, image in enumerate(images):
            data[k] = image
    with draft.open("rb+") as stream:
        os.fsync(stream.fileno())
    draft.rename(path)


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
        made, masked = _reconstruct(registry, backend_id, job, tell)
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        tail = traceback.format_exc()[-_TRACEBACK_CHARACTERS:]
        tell(Failed(what=f"{type(error).__name__}: {error}", traceback=tail))
    else:
        tell(Finished(made=made, masked=masked))


def _reconstruct(
    registry: Registry, backend_id: str, job: ReconstructionJob, tell: Callable[[Message], None]
) -> tuple[int, int]:
    backend = registry.create(backend_id, job.parameters)
    corrected = job.dark is not None and job.flat is not None
    with burst_sequence(job.burst, job.dark, job.flat) as sequence:
        judge = _Judge.of(sequence, truth_of(job.burst) if corrected else None)
        tell(Started(shape=sequence.shape, has_truth=judge.truth is not None))
        shards = ShardWriter(job, tell)
        valid = 0
        try:
            for timed in checked_frames(backend, sequence, range(sequence.n_lr)):
                record = judge.record(timed, () if corrected else ("uncorrected",))
                valid += record.valid
                shards.add(timed.frame.image, record)
        finally:
            shards.flush()
        return valid, sequence.n_lr - valid


class _Judge:
    def __init__(
        self, sequence: DualSequence, truth: TruthSource | None, scale: Normalisation | None
    ) -> None:
        self.sequence, self.truth, self._scale = sequence, truth, scale

    @classmethod
    def of(cls, sequence: DualSequence, truth: TruthSource | None) -> _Judge:
        if truth is None:
            return cls(sequence, None, None)
        try:
            # It is read frame by frame, by index and length only.
            frames = cast("Sequence[npt.ArrayLike]", truth)
            return cls(sequence, truth, Normalisation.from_percentiles(frames))
        except ValueError:
            return cls(sequence, None, None)  # a constant truth has nothing to compare with

    def record(self, timed: TimedFrame, flags: tuple[str, ...]) -> FrameRecord:
        frame, sequence = timed.frame, self.sequence
        before, after, neither = frame.attention or (math.nan, math.nan, math.nan)
        masked = not np.isfinite(frame.image).any()
        values: dict[str, float] = {}
        if not masked and not sequence.noise.is_noise_free:
            lr = np.where(
                sequence.lr_mask(frame.target), sequence.lr(frame.target), np.float32(np.nan)
            )
            values["chi2"] = lr_consistency(frame.image, lr, sequence.noise)
        if not masked and self.truth is not None and self._scale is not None:
            truth = self.truth.frame(frame.target)
            values["psnr_db"] = psnr(frame.image, truth, self._scale)
            values["aad"] = aad(frame.image, truth, self._scale)
            if min(truth.shape) >= _SMALLEST_SSIM_SIDE_PX:
                values["ssim"] = ssim(frame.image, truth, self._scale)
        try:
            tau = sequence.tau(frame.target)
        except NoHRFrameError:
            tau, flags = math.nan, (*flags, "no-hr")
        return FrameRecord(
            time_ns=float(sequence.lr_time_ns[frame.target]),
            tau=tau,
            elapsed_ms=timed.elapsed_ms,
            attention_before=before,
            attention_after=after,
            attention_neither=neither,
            valid=int(not masked),
            flags=",".join((*flags, "masked") if masked else flags),
            **values,
        )


def main(arguments: list[str] | None = None) -> None:
    """Serve one backend until the pipe with the jobs closes.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name.
    """
    parser = argparse.ArgumentParser(description="Run one backend, for the processing service.")
    parser.add_argument("--backend", required=True, help="id")
    parser.add_argument("--fd-in", type=int, required=True, help="file descriptor with jobs")
    parser.add_argument("--fd-out", type=int, required=True, help="file descriptor for messages")
    parser.add_argument("--allow", action="append", default=None, help="only this plugin")
    parser.add_argument("--block", action="append", default=[], help="never this plugin")
    options = parser.parse_args(arguments)
    os.nice(_NICENESS)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        with os.fdopen(options.fd_in, "rb") as stream:
            for line in stream:
                jobs.put(line)
        # The engine has gone: nobody wants the result, however long it would still take.
        os._exit(0)

    threading.Thread(target=listen, name="jobs", daemon=True).start()
    registry = Registry.discover(options.allow, options.block)
    with os.fdopen(options.fd_out, "wb", buffering=0) as out:

        def tell(message: Message) -> None:
            view = memoryview(message.line())
            while view:
                view = view[out.write(view) or 0 :]

        while True:
            job = ReconstructionJob.model_validate_json(jobs.get())
            reconstruct(registry, options.backend, job, tell)


if __name__ == "__main__":
    main()
