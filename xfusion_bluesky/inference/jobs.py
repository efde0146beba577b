"""What the command and the process that runs the backend say to each other, in JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from xfusion_bluesky.formats.xfusion_case import open_case
from xfusion_bluesky.inference.actual_set import ActualFrames, CameraMatch
from xfusion_bluesky.inference.frames import Mode
from xfusion_bluesky.inference.scoring import FrameScore
from xfusion_bluesky.inference.virtual_set import VirtualFrames, VirtualSet
from xfusion_bluesky.processing.discovery import PluginName

__all__ = [
    "ActualJob",
    "Failed",
    "Finished",
    "InferenceJob",
    "Message",
    "Refused",
    "Scored",
    "Started",
    "VirtualJob",
    "parse_job",
    "parse_message",
]


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class _Job(_Object):
    """One run of one backend on one folder of images.

    Parameters
    ----------
    folder : Path
        Of the images.
    backend, plugin : str, PluginName
        Id of the backend, and who has it.
    parameters : dict
        Of the backend.
    mode : Mode
        How the images are gone through.
    output : Path
        Folder for the results; it must not exist.
    """

    folder: Path
    backend: str
    plugin: PluginName
    parameters: dict[str, Any] = Field(default_factory=dict)
    mode: Mode = Mode.CONTINUOUS
    output: Path


class VirtualJob(_Job):
    """A run on a virtual experiment, with folders ``LR`` and ``HR``.

    Parameters
    ----------
    lr_separation, hr_separation
        As for `frames.frame_passes`.
    blank_photons, seed
        As for `VirtualSet.sequence`.
    """

    kind: Literal["virtual"] = "virtual"
    lr_separation: int = 1
    hr_separation: int = 20
    blank_photons: float | None = None
    seed: int = 0

    def name(self, noise_level: str) -> str:
        """Return the name of results: XFusion's, with the backend in place of the model.

        ``<backend>_stf_lr_r_<s>_hr_d_<D>_b0_<n>``, and ``_double`` in that mode.

        Parameters
        ----------
        noise_level : str
            Of the set; noise that is added counts instead, as the power of ten of its photons.
        """
        level = noise_level
        if self.blank_photons is not None:
            level = f"{math.log10(self.blank_photons):g}"
        name = f"{self.backend}_stf_lr_r_{self.lr_separation}_hr_d_{self.hr_separation}_b0_{level}"
        return f"{name}_double" if self.mode is Mode.DOUBLE else name

    def open(self) -> VirtualFrames:
        """Look at the folders; raises as `VirtualSet.open`."""
        images = VirtualSet.open(self.folder)
        return VirtualFrames(
            images,
            self.name(images.noise_level),
            self.mode,
            self.lr_separation,
            self.hr_separation,
            self.blank_photons,
            self.seed,
        )


class ActualJob(_Job):
    """A run on one case of a real experiment in XFusion's layout.

    Parameters
    ----------
    match : CameraMatch
        Where, when and how bright a pixel of one camera is in the other.
    xfusion_matching : bool
        Use XFusion's rules for which frames belong together.
    """

    kind: Literal["actual"] = "actual"
    match: CameraMatch
    xfusion_matching: bool = False

    def open(self) -> ActualFrames:
        """Look at the case; raises as `open_case`."""
        case = open_case(self.folder)
        return ActualFrames(case, self.match, self.mode, self.xfusion_matching)


InferenceJob = Annotated[VirtualJob | ActualJob, Field(discriminator="kind")]
_JOB: TypeAdapter[VirtualJob | ActualJob] = TypeAdapter(InferenceJob)


def parse_job(line: str) -> VirtualJob | ActualJob:
    """Return the job of a line.

    Raises
    ------
    ValueError
        The line is none.
    """
    return _JOB.validate_json(line)


class Started(_Object):
    """The backend is made and the folder for the results exists."""

    kind: Literal["started"] = "started"
    version: str
    weights: str | None


class Scored(_Object):
    """A frame is made; its image is in the folder, unless it is masked."""

    kind: Literal["scored"] = "scored"
    score: FrameScore


class Refused(_Object):
    """The job cannot be begun; nothing was written."""

    kind: Literal["refused"] = "refused"
    why: str


class Failed(_Object):
    """The job has failed; frames scored before are good."""

    kind: Literal["failed"] = "failed"
    what: str


class Finished(_Object):
    """Every frame is made."""

    kind: Literal["finished"] = "finished"


Message = Started | Scored | Refused | Failed | Finished
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def parse_message(line: bytes) -> Message:
    """Return the message of a line.

    Raises
    ------
    ValueError
        The line is none.
    """
    return _MESSAGE.validate_json(line)
