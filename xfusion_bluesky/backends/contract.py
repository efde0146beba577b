"""What a reconstruction backend is: the only thing a plugin author has to implement.

A backend is a frozen dataclass whose fields are its parameters (JSON values), with an `info` and
a `reconstruct` method. It sees arrays through a `DualSequence`, never files, PVs or documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xfusion_bluesky.fusion.arrays import Float32Array
from xfusion_bluesky.fusion.operators import SCALE
from xfusion_bluesky.fusion.sequence import DualSequence

__all__ = ["Backend", "BackendFactory", "BackendInfo", "FusedFrame", "Weights"]


@dataclass(frozen=True)
class Weights:
    """Trained weights a network runs with.

    Parameters
    ----------
    name : str
        File or model name, for people.
    sha256 : str
        Of the file; part of a reconstruction's identity.
    licence : str
        SPDX identifier or a sentence.
    """

    name: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class BackendInfo:
    """What a backend is and needs, without running it.

    Parameters
    ----------
    id : str
        Name in requests and catalogues: lower case letters, digits and hyphens.
    version : str
        Changes whenever results change.
    summary : str
        One line for people who choose.
    needs_hr : bool
        True when at least one valid HR frame is required.
    lr_context : int
        LR frames read on each side of the target.
    gives_variance, gives_attention : bool
        Whether every unmasked frame carries them.
    weights : Weights or None
        Of a network.
    unavailable : str or None
        Why it cannot run as it is, for instance ``"needs --weights"``; such a backend is never
        chosen by itself.
    scale : int
        Fused pixels along an LR pixel.
    claims_accuracy : bool
        False for a method that is not trained or not finished yet: conformance then leaves out the
        scenes whose answer is known, and the card of the backend says so.
    """

    id: str
    version: str
    summary: str
    needs_hr: bool
    lr_context: int = 0
    gives_variance: bool = False
    gives_attention: bool = False
    weights: Weights | None = None
    unavailable: str | None = None
    scale: int = SCALE
    claims_accuracy: bool = True


@dataclass(frozen=True, eq=False)
class FusedFrame:
    """One reconstructed frame.

    Parameters
    ----------
    target : int
        LR frame it belongs to.
    image : (H, W) float32
        In the units of the sequence, not clipped; may be read-only, and must not be written to
        once it was yielded. A frame that cannot be made is all NaN with
        ``diagnostics={"masked": 1.0}``.
    variance : (H, W) float32, optional
        Of the image, >= 0.
    attention : (float, float, float), optional
        Share of the HR frame before, the HR frame after, and neither: in [0, 1], sum 1.
    diagnostics : mapping of str to float
        Anything worth storing with the frame.
    """

    target: int
    image: Float32Array
    variance: Float32Array | None = None
    attention: tuple[float, float, float] | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)


class Backend(Protocol):
    """A reconstruction method with its parameters."""

    @property
    def info(self) -> BackendInfo:
        """What it is and needs."""

    def reconstruct(self, sequence: DualSequence, targets: Sequence[int]) -> Iterator[FusedFrame]:
        """Yield the fused frame of each target, in the order of `targets`, as soon as it is made.

        Parameters
        ----------
        sequence : DualSequence
            The whole burst, so that work shared between targets is done once. A target's image
            must not depend on which other targets are asked for.
        targets : sequence of int
            LR frame indices.

        Raises
        ------
        NoHRFrameError
            If HR frames are needed and the sequence has none that is valid.
        """


@dataclass(frozen=True)
class BackendFactory:
    """What a plugin registers: a description and a way to make the backend.

    Parameters
    ----------
    info : BackendInfo
        Of the backend with default parameters.
    create : callable
        Called as ``create(**parameters)``; usually the backend's dataclass itself. Nothing is
        loaded or computed before it is called.
    """

    info: BackendInfo
    create: Callable[..., Backend]
