"""Bursts, put together from the documents of a raw run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .paths import path_of

CAMERAS = ("phantom", "shimadzu")
_STREAM = "primary"


@dataclass(frozen=True)
class CameraBurst:
    """What one camera recorded in a burst; the frames stay in their file.

    Parameters
    ----------
    file : Path
        Closed HDF5 file.
    dataset : str
        Path of the (n, H, W) dataset in it.
    shape : (int, int, int)
        Frames, rows, columns.
    frame_time_ns : tuple of float, length n
        Mid-exposure, ns after the camera's own trigger.
    valid : tuple of bool, length n
        False for frames that are missing or padded.
    event_flag : tuple of int, length n
        1 where the camera saw its event input.
    sha256 : str
        Checksum of the file.
    trigger_delay_ns : float
        Trigger of the camera after T0.
    bit_shift : int
        Bits by which the pixels stand too high.
    exposure_ns : float
        Of a frame; 0 where the documents do not say it.
    """

    file: Path
    dataset: str
    shape: tuple[int, int, int]
    frame_time_ns: tuple[float, ...]
    valid: tuple[bool, ...]
    event_flag: tuple[int, ...]
    sha256: str
    trigger_delay_ns: float = 0.0
    bit_shift: int = 0
    exposure_ns: float = 0.0

    @property
    def time_ns(self) -> tuple[float, ...]:
        """Mid-exposure of each frame on the common clock, ns after T0."""
        return tuple(time + self.trigger_delay_ns for time in self.frame_time_ns)


@dataclass(frozen=True)
class Burst:
    """One event of a raw run: a shot that both cameras recorded. Pydantic turns it into JSON.

    Parameters
    ----------
    start : dict
        Start document of the raw run.
    seq_num : int
        Number of the event, from 1.
    phantom, shimadzu : CameraBurst
        The cameras.
    positions : dict
        Where stages stood, where the event says it: positions by data key.
    """

    start: dict[str, Any]
    seq_num: int
    phantom: CameraBurst
    shimadzu: CameraBurst
    positions: dict[str, float] = field(default_factory=dict)

    @property
    def raw_uid(self) -> str:
        """Uid of the raw run."""
        return str(self.start["uid"])


class BurstReader:
    """Puts bursts together from one run's documents, in whichever order files and events come."""

    def __init__(self) -> None:
        self._start: Mapping[str, Any] = {}
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._resources: dict[str, Mapping[str, Any]] = {}
        self._resource_of: dict[tuple[str, int], str] = {}
        self._events: dict[int, Mapping[str, Any]] = {}

    def feed(self, name: str, doc: Mapping[str, Any]) -> Burst | None:
        """Take the next document; return a burst when it completes one.

        Parameters
        ----------
        name : str
            Kind of document.
        doc : mapping
            The document. Streams other than ``primary`` are passed over.

        Raises
        ------
        KeyError, ValueError
            The documents are not those of a dual burst.
        """
        seq_num: int | None = None
        match name:
            case "start":
                self._start = doc
            case "descriptor":
                if doc.get("name") == _STREAM:
                    self._descriptors[doc["uid"]] = doc
            case "stream_resource":
                self._resources[doc["uid"]] = doc
            case "stream_datum":
                camera_key = self._resources[doc["stream_resource"]]["data_key"]
                seq_num = doc["seq_nums"]["start"]
                for number in range(seq_num, doc["seq_nums"]["stop"]):
                    self._resource_of[camera_key, number] = doc["stream_resource"]
            case "event":
                if doc["descriptor"] in self._descriptors:
                    seq_num = doc["seq_num"]
                    self._events[seq_num] = doc
        return None if seq_num is None else self._complete(seq_num)

    def _complete(self, seq_num: int) -> Burst | None:
        keys = [(f"{camera}_image", seq_num) for camera in CAMERAS]
        if seq_num not in self._events or any(key not in self._resource_of for key in keys):
            return None
        event = self._events.pop(seq_num)
        resources = [self._resources[self._resource_of.pop(key)] for key in keys]
        descriptor = self._descriptors[event["descriptor"]]
        phantom, shimadzu = (
            _camera_burst(camera, event["data"], descriptor, resource)
            for camera, resource in zip(CAMERAS, resources, strict=True)
        )
        positions = {
            key: float(value)
            for key, value in event["data"].items()
            if isinstance(value, float) and not key.startswith(CAMERAS)
        }
        return Burst(dict(self._start), seq_num, phantom, shimadzu, positions)


def bursts_of(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Burst]:
    """Return the complete bursts of one run's documents, in order.

    Parameters
    ----------
    documents : iterable of (str, mapping)
        From `documents.journal.read_journal`, for instance.
    """
    reader = BurstReader()
    return [burst for name, doc in documents if (burst := reader.feed(name, doc)) is not None]


def _camera_burst(
    camera: str,
    data: Mapping[str, Any],
    descriptor: Mapping[str, Any],
    resource: Mapping[str, Any],
) -> CameraBurst:
    n, height, width = descriptor["data_keys"][f"{camera}_image"]["shape"]
    configuration = {
        key: value
        for part in descriptor.get("configuration", {}).values()
        for key, value in part["data"].items()
    }
    burst = CameraBurst(
        file=path_of(resource["uri"]),
        dataset=resource["parameters"]["dataset"],
        shape=(n, height, width),
        frame_time_ns=tuple(float(time) for time in data[f"{camera}_frame_time_ns"]),
        valid=tuple(bool(flag) for flag in data[f"{camera}_valid"]),
        event_flag=tuple(int(flag) for flag in data[f"{camera}_event_flag"]),
        sha256=data[f"{camera}_sha256"],
        trigger_delay_ns=float(configuration.get(f"{camera}_trigger_delay_ns", 0.0)),
        bit_shift=int(configuration.get(f"{camera}_bit_shift", 0)),
        exposure_ns=_exposure_ns(camera, configuration),
    )
    if not len(burst.frame_time_ns) == len(burst.valid) == n:
        raise ValueError(
            f"The event promises {n} frames of {camera}, but has {len(burst.frame_time_ns)} times "
            f"and {len(burst.valid)} flags: the run cannot be reconstructed; its files are safe."
        )
    return burst


def _exposure_ns(camera: str, configuration: Mapping[str, Any]) -> float:
    """Return the exposure; areaDetector gives seconds, the Shimadzu's records nanoseconds."""
    seconds = float(configuration.get(f"{camera}_acquire_time", 0.0))
    return float(configuration.get(f"{camera}_exposure_ns", 1e9 * seconds))
