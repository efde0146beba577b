"""The card of a backend: what it is, what it passes, how good, how fast, how large it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

__all__ = ["Accuracy", "Card", "Cost", "Identity", "Refused", "Verdict", "parse_finding"]


class _Finding(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Identity(_Finding):
    """What a backend says it is, and the distribution it comes from."""

    kind: Literal["identity"] = "identity"
    id: str
    version: str
    summary: str
    plugin: str
    distribution: str
    distribution_version: str
    needs_hr: bool
    claims_accuracy: bool
    weights: str | None = Field(description="name, licence and beginning of the SHA-256")
    unavailable: str | None = Field(description="why it cannot run as it is")


class Verdict(_Finding):
    """How one check, or measurement, ended."""

    kind: Literal["verdict"] = "verdict"
    check: str
    outcome: Literal["passed", "failed", "left out"]
    why: str = ""


class Accuracy(_Finding):
    """Means over the frames of `scenes.moving_blobs` strictly between HR frames."""

    kind: Literal["accuracy"] = "accuracy"
    psnr_db: float
    ssim: float
    baselines: dict[str, tuple[float, float]] = Field(
        description="PSNR (dB) and SSIM of trivial methods"
    )


class Cost(_Finding):
    """Time and memory on `scenes.moving_blobs`, once warm."""

    kind: Literal["cost"] = "cost"
    frames: int
    shape: tuple[int, int]
    first_ms: float = Field(description="first frame, with what is made once a burst")
    median_ms: float
    spread_ms: tuple[float, float] = Field(description="the middle half of the frames")
    peak_mb: float = Field(description="resident memory of its process, Python included")


class Begun(_Finding):
    """What the process is about to do, so that a crash has a name."""

    kind: Literal["begun"] = "begun"
    what: str


class Refused(_Finding):
    """Why there is nothing to examine."""

    kind: Literal["refused"] = "refused"
    what: Literal["backend", "parameters"]
    why: str


class Completed(_Finding):
    """Everything was examined."""

    kind: Literal["completed"] = "completed"


Finding = Identity | Verdict | Accuracy | Cost | Begun | Refused | Completed
_FINDING: TypeAdapter[Finding] = TypeAdapter(Annotated[Finding, Field(discriminator="kind")])


class Card(_Finding):
    """Everything that is known about a backend after its examination."""

    kind: Literal["card"] = "card"
    backend_id: str
    parameters: dict[str, Any]
    identity: Identity | None = None
    verdicts: tuple[Verdict, ...] = ()
    accuracy: Accuracy | None = None
    cost: Cost | None = None
    ending: str = Field("", description="how its process came to grief; empty: it did not")
    output: str = Field("", description="the end of what it printed")

    @property
    def conforms(self) -> bool:
        """Whether the examination was completed and nothing failed."""
        failed = any(verdict.outcome == "failed" for verdict in self.verdicts)
        return bool(self.verdicts) and not failed and not self.ending


def parse_finding(line: bytes) -> Finding:
    """Return the finding of a line from the examining process.

    Raises
    ------
    ValueError
        The line is none.
    """
    return _FINDING.validate_json(line)
