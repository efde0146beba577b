"""What engine and backend process say to each other: one JSON line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from xfusion_bluesky.documents.processed import FrameRecord
from xfusion_bluesky.documents.raw import Burst


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def line(self) -> bytes:
        """Return the JSON line."""
        return self.model_dump_json().encode() + b"\n"


class ReconstructionJob(_Line):
    """A burst to reconstruct, and where to put the frames."""

    burst: Burst
    dark: Burst | None = None
    flat: Burst | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    folder: Path
    shard_frames: int = Field(16, ge=1)
    shard_seconds: float = Field(2.0, gt=0)


class Started(_Line):
    """The burst is open and the backend is made."""

    kind: Literal["started"] = "started"
    shape: tuple[int, int]
    has_truth: bool


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


class Failed(_Line):
    """The reconstruction has failed; shards written before are good."""

    kind: Literal["failed"] = "failed"
    what: str
    traceback: str = ""


Message = Started | ShardWritten | Finished | Failed
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def parse_message(line: bytes) -> Message:
    """Return the message of a line from a backend process.

    Raises
    ------
    ValueError
        The line is none.
    """
    return _MESSAGE.validate_json(line)
