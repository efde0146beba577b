"""The process that runs the backend: images go into the folder, scores through a pipe."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable

import numpy as np

from xfusion_bluesky.backends.contract import Backend
from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.formats.images import write_image
from xfusion_bluesky.inference.frame_set import FrameSet
from xfusion_bluesky.inference.jobs import (
    ActualJob,
    Failed,
    Finished,
    Message,
    Refused,
    Scored,
    Started,
    VirtualJob,
    parse_job,
)
from xfusion_bluesky.inference.scoring import Scorer, image_name
from xfusion_bluesky.processing.discovery import entry_points
from xfusion_bluesky.processing.plugin_errors import in_words

__all__ = ["main"]

_GRACE_S = 30.0


def main(arguments: list[str] | None = None) -> None:
    """Do one job.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name.
    """
    parser = argparse.ArgumentParser(description="Run one backend on files.")
    parser.add_argument("--job", required=True, help="InferenceJob, JSON")
    parser.add_argument("--fd", type=int, required=True, help="file descriptor for messages")
    parser.add_argument("--limit", type=float, required=True, help="longest time for a frame, s")
    options = parser.parse_args(arguments)
    os.set_inheritable(options.fd, False)
    faulthandler.enable()
    job = parse_job(options.job)

    def tell(message: Message) -> None:
        # A plugin may hang where no Python runs, and who would kill it may have gone.
        signal.setitimer(signal.ITIMER_REAL, options.limit + _GRACE_S)
        view = memoryview(message.model_dump_json().encode() + b"\n")
        while view:
            view = view[os.write(options.fd, view) :]

    signal.setitimer(signal.ITIMER_REAL, options.limit + _GRACE_S)
    try:
        last = _do(job, tell)
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit too
        traceback.print_exc()
        last = Failed(what=in_words(error))
    sys.stdout.flush()
    sys.stderr.flush()
    tell(last)
    # Threads and exit handlers that a plugin left behind have no say any more.
    os._exit(0)


def _do(job: VirtualJob | ActualJob, tell: Callable[[Message], None]) -> Message:
    registry = Registry.from_entry_points(e for name, e in entry_points() if name == job.plugin)
    try:
        backend = registry.create(job.backend, job.parameters)
        info = backend.info
    except BaseException as error:  # noqa: BLE001 - as above
        return Refused(why=in_words(error))
    if info.unavailable is not None:
        return Refused(why=f"it is unavailable: {info.unavailable}")
    # Made here, at the last moment: nothing shall be left of what could not begin.
    job.output.mkdir(parents=True)
    tell(Started(version=info.version, weights=info.weights and info.weights.sha256))
    _fuse(job, backend, tell)
    return Finished()


def _fuse(job: VirtualJob | ActualJob, backend: Backend, tell: Callable[[Message], None]) -> None:
    source: FrameSet = job.open()
    for frames in source.passes():
        # Two sequences: what scores have read is not ready for the backend, whose time is taken.
        scorer = Scorer.of(source, frames)
        places = np.searchsorted(frames.lr, frames.targets).tolist()
        for timed in checked_frames(backend, source.sequence(frames), places):
            number = frames.lr[timed.frame.target]
            given = source.is_given(number, frames)
            score = scorer.score(timed, source.truth(number), given)
            if score.valid:
                name = image_name(source.stem(number), score)
                write_image(job.output / name, timed.frame.image, source.bits)
            tell(Scored(score=score))


if __name__ == "__main__":
    main()
