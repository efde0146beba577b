"""Do a job from beginning to end, and keep what was made however it ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from xfusion_bluesky.inference.frame_set import FrameSet
from xfusion_bluesky.inference.jobs import (
    Failed,
    InferenceJob,
    Message,
    Refused,
    Scored,
    Started,
)
from xfusion_bluesky.inference.process import InferenceProcess, Limits, ProcessFailed
from xfusion_bluesky.inference.results import LOG, ScoreFile, Summary, write_settings
from xfusion_bluesky.inference.scoring import FrameScore, image_name

__all__ = ["InferenceRefused", "Outcome", "infer"]


class InferenceRefused(LookupError):
    """A job that cannot be begun; nothing was written."""


@dataclass(frozen=True)
class Outcome:
    """What a job came to.

    Parameters
    ----------
    scores : sequence of FrameScore
        Of the frames that were made, in order.
    targets : int
        How many there should be.
    failure : str
        Why it is not all of them; "" when it is.
    """

    scores: Sequence[FrameScore]
    targets: int
    failure: str

    @property
    def summaries(self) -> dict[str, Summary]:
        """Means over all frames, and over those whose answer the backend did not get."""
        unseen = [score for score in self.scores if not score.mask]
        return {"all frames": Summary.of(self.scores), "without mask": Summary.of(unseen)}


def infer(
    job: InferenceJob,
    source: FrameSet,
    limits: Limits,
    on_frame: Callable[[], object] = lambda: None,
) -> Outcome:
    """Run a backend on images and write images, scores and settings.

    Parameters
    ----------
    job : InferenceJob
        What to do.
    source : FrameSet
        Its images, opened.
    limits : Limits
        What the backend may take.
    on_frame : callable
        Called after each frame.

    Raises
    ------
    InferenceRefused
        The backend cannot be made from these parameters.
    OSError
        The results cannot be written; the folder for them exists already, for instance.
    """
    waiting = [frame for each in source.passes() for frame in each.targets]
    with InferenceProcess(job, limits) as process:
        messages = process.messages()
        started = _started(job, messages)
        process.keep_output(job.output / LOG, source.title)
        record = _record(job, source, started)
        write_settings(job.output, record)
        with ScoreFile(job.output / source.score_file) as file:
            failure = "it was cut short"
            try:
                failure = _follow(messages, waiting, file, on_frame)
            finally:
                outcome = Outcome(file.scores, len(waiting), failure)
                # What stopped it is to be heard of, not that the disk is full as well.
                with contextlib.suppress(OSError):
                    write_settings(job.output, {**record, **_ending(outcome)})
    _remove_strays(job, source, outcome.scores)
    return outcome


def _started(job: InferenceJob, messages: Any) -> Started:
    try:
        first: Message = next(messages)
    except ProcessFailed as error:
        raise InferenceRefused(
            f"The backend {job.backend!r} does not start: {error}. Nothing was written."
        ) from error
    match first:
        case Started():
            return first
        case Refused(why=why):
            what = f"The backend {job.backend!r} cannot be made: {why}."
            raise InferenceRefused(f"{what} Nothing was written.")
        case Failed(what=what):
            raise OSError(f"The folder {job.output} cannot be made: {what}. Nothing was written.")
        case _:
            raise InferenceRefused(
                f"The backend {job.backend!r} does not start: its process said nonsense. Nothing "
                "was written."
            )


def _follow(
    messages: Any, waiting: list[int], file: ScoreFile, on_frame: Callable[[], object]
) -> str:
    """Take the scores of all frames; return why some are missing, or ""."""
    expected = iter(waiting)
    try:
        for message in messages:
            match message:
                case Scored(score=score) if score.index == next(expected, None):
                    file.add(score)
                    on_frame()
                case Failed(what=what):
                    return what
                case Started() | Refused() | Scored():
                    return f"its process said nonsense: {message.kind!r} out of turn"
    except ProcessFailed as error:
        return str(error)
    left = len(waiting) - len(file.scores)
    return f"its process left out {left} frames" if left else ""


def _remove_strays(job: InferenceJob, source: FrameSet, scores: Sequence[FrameScore]) -> None:
    """Remove images of frames that a process had no time to score."""
    scored = {image_name(source.stem(score.index), score) for score in scores}
    for file in job.output.glob("*.png*"):
        if file.name not in scored:
            file.unlink(missing_ok=True)


def _record(job: InferenceJob, source: FrameSet, started: Started) -> dict[str, Any]:
    return {
        "name": source.title,
        "status": "running",
        "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **source.facts,
        "backend": {
            "id": job.backend,
            "distribution": job.plugin.distribution,
            "version": started.version,
            "weights": started.weights,
        },
        "parameters": job.parameters,
        "software": {"xfusion-bluesky": version("xfusion-bluesky")},
    }


def _ending(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": "fail" if outcome.failure else "success",
        "reason": outcome.failure,
        "targets": outcome.targets,
        "summary": {name: each.as_json() for name, each in outcome.summaries.items()},
    }
