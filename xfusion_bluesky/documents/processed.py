"""Documents of a processed run: one reconstruction of one burst by one backend."""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, cast

from event_model import ComposeStreamResource, compose_run
from pydantic import BaseModel, ConfigDict

from xfusion_bluesky.documents.corrections import Corrections
from xfusion_bluesky.documents.frame_times import Traversal, targets_of
from xfusion_bluesky.documents.raw import Burst

ANALYSIS_STAGE = "fusion"
STREAM = "fused"
IMAGE_KEY = "fused"
DATASET = "/entry/data/data"
SCHEMA_VERSION = 1
TRUTH_METRICS = ("psnr_db", "ssim", "aad")
FRAME_NUMBERS = ("lr_index", "hr_index")

ExitStatus = Literal["success", "fail", "abort"]

_NAMESPACE = uuid.UUID("6f0f2b36-2d0c-5c11-9d7f-6d1f3a1f9a52")
_COPIED = ("scan_id", "sample_name", "proposal_id", "data_session", "beamline_id")
_UNITS = {"time_ns": "ns", "elapsed_ms": "ms", "psnr_db": "dB"}
_SOURCE = "xfusion_bluesky"
_REASON_CHARACTERS = 500


@dataclass(frozen=True)
class BackendIdentity:
    """Which backend made a reconstruction.

    Parameters
    ----------
    id, distribution, version : str
        Id, installed distribution, and version of the backend.
    weights : str or None
        SHA-256 of trained weights.
    """

    id: str
    distribution: str
    version: str
    weights: str | None = None


class FrameRecord(BaseModel):
    """The numbers of one fused frame; NaN, and -1 for a frame, where one does not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    lr_index: int = -1
    """LR frame it belongs to."""
    hr_index: int = -1
    """HR frame that was held out, and is the truth."""
    time_ns: float
    tau: float = math.nan
    elapsed_ms: float
    chi2: float = math.nan
    chi2_high: float = math.nan
    contradicted: float = math.nan
    residual_rms: float = math.nan
    detail: float = math.nan
    sigma: float = math.nan
    psnr_db: float = math.nan
    ssim: float = math.nan
    aad: float = math.nan
    attention_before: float = math.nan
    attention_after: float = math.nan
    attention_neither: float = math.nan
    valid: int = 1
    flags: str = ""


class FlagRecord(BaseModel):
    """What looks wrong about a burst."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str
    value: float
    threshold: float
    severity: str
    reason: str


class Interval(BaseModel):
    """Factors that turn a standard deviation into an interval; see `fusion.conformal`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float
    delta: float
    resting: float
    moving: float
    floor: float


class Verdict(BaseModel):
    """What is known of a whole reconstruction without any truth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flags: tuple[FlagRecord, ...] = ()
    held_out_frames: int = 0
    held_out_psnr_db: float | None = None
    held_out_ssim: float | None = None
    interval: Interval | None = None


def reconstruction_key(
    burst: Burst,
    backend: BackendIdentity,
    parameters: Mapping[str, Any],
    corrections: Corrections | None = None,
    traversal: Traversal = "continuous",
) -> str:
    """Return what a reconstruction is known by, whichever attempt makes it.

    Parameters
    ----------
    burst : Burst
        What is reconstructed.
    backend : BackendIdentity
        By what.
    parameters : mapping
        JSON values.
    corrections : Corrections, optional
        What the burst is corrected with.
    traversal : {"continuous", "double"}
        How it is gone through.
    """
    identity = {
        "raw_uid": burst.raw_uid,
        "seq_num": burst.seq_num,
        **(corrections or Corrections()).uids,
        "traversal": traversal,
        "backend": asdict(backend),
        "parameters": dict(parameters),
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return str(uuid.uuid5(_NAMESPACE, canonical))


def attempt_uid(key: str, attempt: int) -> str:
    """Return the run uid of an attempt, from 1, at a reconstruction."""
    return str(uuid.uuid5(uuid.UUID(key), str(attempt)))


class ProcessedRun:
    """Composes the documents of one processed run, in order, and hands each to `emit`.

    Making one emits the start document.

    Parameters
    ----------
    emit : callable
        Gets name and document.
    burst : Burst
        What is reconstructed.
    backend : BackendIdentity
        By what.
    parameters : mapping
        Of the backend, JSON values.
    attempt : int
        From 1.
    corrections : Corrections, optional
        What the burst is corrected with.
    traversal : {"continuous", "double"}
        How it is gone through.
    fallback_for : str, optional
        Uid of the failed processed run that this one stands in for.
    """

    def __init__(
        self,
        emit: Callable[[str, dict[str, Any]], None],
        burst: Burst,
        backend: BackendIdentity,
        parameters: Mapping[str, Any],
        attempt: int,
        *,
        corrections: Corrections | None = None,
        traversal: Traversal = "continuous",
        fallback_for: str | None = None,
    ) -> None:
        self._emit = emit
        used = corrections or Corrections()
        self._records: list[FrameRecord] = []
        self._traversal = traversal
        self._expected = len(targets_of(burst, used.calibration, traversal))
        self._shape: tuple[int, int] | None = None
        self._scalars: tuple[str, ...] = ()
        key = reconstruction_key(burst, backend, parameters, used, traversal)
        start = burst.start
        copied = {name: start[name] for name in _COPIED if start.get(name) is not None}
        if fallback_for is not None:
            copied["fallback_for"] = fallback_for
        self._run = compose_run(
            uid=attempt_uid(key, attempt),
            metadata={
                **copied,
                "raw_plan_name": start.get("plan_name", ""),
                "analysis_stage": ANALYSIS_STAGE,
                "schema_version": SCHEMA_VERSION,
                "parent_uids": [burst.raw_uid, *filter(None, used.uids.values())],
                **used.uids,
                "raw_uid": burst.raw_uid,
                "raw_seq_num": burst.seq_num,
                "num_frames": self._expected,
                "backend": asdict(backend),
                "traversal": traversal,
                "parameters": dict(parameters),
                "software": _software(),
                "reconstruction_key": key,
                "attempt": attempt,
            },
        )
        emit("start", dict(self._run.start_doc))

    @property
    def uid(self) -> str:
        """Uid of this run."""
        return str(self._run.start_doc["uid"])

    def describe(self, shape: tuple[int, int], has_truth: bool) -> None:
        """Emit the descriptor.

        Parameters
        ----------
        shape : (int, int)
            Height and width of a fused frame.
        has_truth : bool
            Whether the metrics that need the truth are there.
        """
        self._shape = shape
        absent = () if has_truth else TRUTH_METRICS
        absent = absent if self._traversal == "double" else (*absent, *FRAME_NUMBERS)
        self._scalars = tuple(name for name in FrameRecord.model_fields if name not in absent)
        keys = {name: _scalar_key(name) for name in self._scalars}
        keys[IMAGE_KEY] = {
            "source": _SOURCE,
            "dtype": "array",
            "shape": list(shape),
            "dtype_numpy": "<f4",
            "external": "STREAM:",
        }
        self._descriptor = self._run.compose_descriptor(STREAM, keys)
        self._emit("descriptor", dict(self._descriptor.descriptor_doc))

    def add_shard(self, file: Path, records: Sequence[FrameRecord]) -> None:
        """Emit the documents of the next closed file of frames.

        Parameters
        ----------
        file : Path
            HDF5 file with ``/entry/data/data`` (n, H, W) float32.
        records : sequence of FrameRecord, length n
            In the order of the file.
        """
        if self._shape is None:
            raise ValueError(f"{file} came before the run was described; the raw data are safe")
        compose_resource = cast("ComposeStreamResource", self._run.compose_stream_resource)
        resource = compose_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{file}",
            data_key=IMAGE_KEY,
            parameters={
                "dataset": DATASET,
                "chunk_shape": [1, *self._shape],
                "join_method": "stack",
            },
        )
        self._emit("stream_resource", dict(resource.stream_resource_doc))
        first = len(self._records) + 1
        datum = resource.compose_stream_datum(
            {"start": 0, "stop": len(records)},
            seq_nums={"start": first, "stop": first + len(records)},
            descriptor=self._descriptor.descriptor_doc,
        )
        self._emit("stream_datum", dict(datum))
        for record in records:
            data = record.model_dump(include=set(self._scalars))
            stamps = dict.fromkeys(data, self._run.start_doc["time"])
            event = self._descriptor.compose_event(data=data, timestamps=stamps)
            self._emit("event", dict(event))
        self._records += records

    def stop(
        self,
        exit_status: ExitStatus,
        reason: str = "",
        *,
        fallback_uid: str | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """Emit the stop document.

        Parameters
        ----------
        exit_status : {"success", "fail", "abort"}
            How it ended.
        reason : str
            Why, when it is no success; made one line of 500 characters at most.
        fallback_uid : str, optional
            Uid of the processed run that stands in for this one.
        verdict : Verdict, optional
            On the whole reconstruction.
        """
        stop: dict[str, Any] = dict(
            self._run.compose_stop(exit_status=exit_status, reason=_one_line(reason))
        )
        stop |= _summary(self._records, self._expected)
        if verdict is not None:
            stop["flags"] = [_json(flag) for flag in verdict.flags]
            held_out = verdict.model_dump(
                include={"held_out_psnr_db", "held_out_ssim", "held_out_frames"}, exclude_none=True
            )
            stop["quality"] |= held_out if verdict.held_out_frames else {}
            if verdict.interval is not None:
                stop["interval"] = verdict.interval.model_dump()
        if fallback_uid is not None:
            stop["fallback_uid"] = fallback_uid
        self._emit("stop", stop)


def orphan_stop(documents: Iterable[tuple[str, Mapping[str, Any]]], reason: str) -> dict[str, Any]:
    """Return the stop document ``abort`` of a processed run whose process has gone.

    Parameters
    ----------
    documents : iterable of (str, mapping)
        What its journal holds; the start document first.
    reason : str
        Why it ended.
    """
    start: Mapping[str, Any] = {}
    records = []
    for name, document in documents:
        if name == "start":
            start = document
        elif name == "event":
            data = {key: v for key, v in document["data"].items() if v is not None}
            records.append(FrameRecord.model_validate(data))
    return {
        "uid": str(uuid.uuid4()),
        "run_start": start["uid"],
        "time": time.time(),
        "exit_status": "abort",
        "reason": _one_line(reason),
        "num_events": {STREAM: len(records)} if records else {},
        **_summary(records, start.get("num_frames", len(records))),
    }


def _summary(records: Sequence[FrameRecord], expected: int) -> dict[str, Any]:
    made = [record for record in records if record.valid]
    # A frame that coincides with an HR frame is a copy; its score says nothing of the fusion.
    between = [record for record in made if 0 < record.tau < 1]
    quality = {
        "psnr_db": _over(statistics.fmean, (record.psnr_db for record in between)),
        "ssim": _over(statistics.fmean, (record.ssim for record in between)),
        "chi2": _over(statistics.median, (record.chi2 for record in made)),
        "detail": _over(statistics.median, (record.detail for record in made)),
        "frame_ms": _over(statistics.median, (record.elapsed_ms for record in made)),
    }
    return {
        "frames": {
            "made": len(made),
            "masked": len(records) - len(made),
            "failed": expected - len(records),
        },
        "quality": {key: value for key, value in quality.items() if value is not None},
    }


def _json(flag: FlagRecord) -> dict[str, Any]:
    # Documents hold no NaN.
    values = flag.model_dump()
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()
    }


def _over(average: Callable[[list[float]], float], values: Iterable[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return average(known) if known else None


def _one_line(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _REASON_CHARACTERS else line[: _REASON_CHARACTERS - 1] + "…"


def _scalar_key(name: str) -> dict[str, Any]:
    key: dict[str, Any] = {"source": _SOURCE, "shape": []}
    if name == "flags":
        return {**key, "dtype": "string"}
    if name in ("valid", *FRAME_NUMBERS):
        return {**key, "dtype": "integer", "dtype_numpy": "<i8"}
    units = {"units": _UNITS[name]} if name in _UNITS else {}
    return {**key, "dtype": "number", "dtype_numpy": "<f8", **units}


def _software() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for distribution in ("xfusion-bluesky", "numpy", "scipy", "h5py"):
        try:
            versions[distribution] = version(distribution)
        except PackageNotFoundError:
            versions[distribution] = "not installed"
    return versions
