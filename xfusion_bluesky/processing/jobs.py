"""What engine and backend process say to each other: one JSON line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.frame_times import Traversal, targets_of
from xfusion_bluesky.documents.processed import FrameRecord, Verdict
from xfusion_bluesky.documents.raw import Burst


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def line(self) -> bytes:
        """Return the JSON line."""
        return self.model_dump_json().encode() + b"\n"


class ReconstructionJob(_Line):
    """A burst to reconstruct, and where to put the frames."""

    burst: Burst
    corrections: Corrections = Corrections()
    traversal: Traversal = "continuous"
    parameters: dict[str, Any] = Field(default_factory=dict)
    folder: Path
    shard_frames: int = Field(16, ge=1)
    shard_seconds: float = Field(2.0, gt=0)
    hold_out: bool = False

    @property
    def targets(self) -> tuple[int, ...]:
        """LR frames to make, in order."""
        return targets_of(self.burst, self.corrections.calibration, self.traversal)


class Ready(_Line):
    """The process has loaded its plugin and waits for jobs; the first message of each process."""

    kind: Literal["ready"] = "ready"


class Started(_Line):
    """The burst is open and the backend is made."""

    kind: Literal["started"] = "started"
    shape: tuple[int, int]
    has_truth: bool


class Working(_Line):
    """The backend has made a frame; that is all: the frame comes in a file."""

    kind: Literal["working"] = "working"


class ShardWritten(_Line):
    """A file of fused frames is complete."""

    kind: Literal["shard"] = "shard"
    file: Path
    first: int
    frames: tuple[FrameRecord, ...]


class Finished(_Line):
    """Every frame has been made."""

    kind: Literal["finished"] = "finished"
    made: int
    masked: int
    verdict: Verdict = Verdict()


class Failed(_Line):
    """The reconstruction has failed; shards written before are good."""

    kind: Literal["failed"] = "failed"
    what: str
    traceback: str = ""


Message = Ready | Started | Working | ShardWritten | Finished | Failed
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def parse_message(line: bytes) -> Message:
    """Return the message of a line from a backend process.

    Raises
    ------
    ValueError
        The line is none.
    """
    return _MESSAGE.validate_json(line)


class Conversation:
    """Holds what a backend process says of one job against what it said before.

    A plugin can write to the pipe itself; what it invents is not believed.

    Parameters
    ----------
    job : ReconstructionJob
        What was asked.
    """

    def __init__(self, job: ReconstructionJob) -> None:
        self._job = job
        self._started = False
        self._frames = 0
        # Each HR frame may have to be guessed as well. Twice that: who makes too many is found out
        # elsewhere, and here nobody shall go on for ever.
        self._signs_left = 2 * (len(job.targets) + job.burst.phantom.shape[0])

    def check(self, message: Message) -> None:
        """Take the next message.

        Raises
        ------
        ValueError
            It cannot follow those before.
        """
        match message:
            case Started() if not self._started:
                self._started = True
            case Working() if self._started and self._signs_left:
                self._signs_left -= 1
            case ShardWritten(file=file, first=first, frames=frames) if self._started:
                if first != self._frames or file.parent != self._job.folder:
                    raise ValueError(f"a file {file} of frames from {first} on")
                self._frames += len(frames)
            case Finished(made=made, masked=masked) if self._started:
                asked = len(self._job.targets)
                if not made + masked == self._frames == asked:
                    raise ValueError(
                        f"it has finished with {made} + {masked} frames, {self._frames} are in "
                        f"files and {asked} were asked for"
                    )
            case Failed():
                pass
            case _:
                raise ValueError(f"{message.kind!r} out of turn")
