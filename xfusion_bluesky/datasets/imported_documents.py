"""Documents of a burst that other software recorded: those of a run of the plan `dual_burst`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from event_model import compose_run, compose_stream_resource

from xfusion_bluesky.devices.burst_file import DATASET, BurstFile

__all__ = ["imported_documents"]

_DETECTOR = "dual"
_CHUNK_FRAMES = 16


def imported_documents(
    uid: str,
    start: Mapping[str, Any],
    files: Mapping[str, BurstFile],
    configuration: Mapping[str, float],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents of a run of one event.

    Parameters
    ----------
    uid : str
        Of the run.
    start : mapping
        Metadata of the run.
    files : mapping of str to BurstFile
        Closed files by camera, ``phantom`` and ``shimadzu``.
    configuration : mapping
        Numbers by key, for instance ``shimadzu_bit_shift``.

    Yields
    ------
    (str, dict)
        Name and document.
    """
    now = time.time()
    cameras = {"cameras": list(files), "scale": 4, "num_bursts": 1, "detectors": [_DETECTOR]}
    run = compose_run(uid=uid, time=now, metadata={**cameras, **start})
    yield "start", dict(run.start_doc)
    keys = {key: entry for camera, file in files.items() for key, entry in _keys(camera, file)}
    settings = {
        _DETECTOR: {
            "data": dict(configuration),
            "timestamps": dict.fromkeys(configuration, now),
            "data_keys": {
                key: {"source": "imported", "dtype": "number", "shape": []} for key in configuration
            },
        }
    }
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys=keys,
        configuration=settings,
        object_keys={_DETECTOR: list(keys)},
        hints={_DETECTOR: {"fields": [f"{camera}_frames" for camera in files]}},
    )
    yield "descriptor", dict(descriptor.descriptor_doc)
    for camera, file in files.items():
        resource = compose_stream_resource(
            start=run.start_doc,
            mimetype="application/x-hdf5",
            uri=f"file://localhost{file.path}",
            data_key=f"{camera}_image",
            parameters={
                "dataset": DATASET,
                "chunk_shape": [1, min(_CHUNK_FRAMES, file.shape[0]), *file.shape[1:]],
                "join_method": "stack",
            },
        )
        yield "stream_resource", dict(resource.stream_resource_doc)
        datum = resource.compose_stream_datum(
            {"start": 0, "stop": 1},
            seq_nums={"start": 1, "stop": 2},
            descriptor=descriptor.descriptor_doc,
        )
        yield "stream_datum", dict(datum)
    data = {key: value for camera, file in files.items() for key, value in _values(camera, file)}
    event = descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, now))
    yield "event", dict(event)
    yield "stop", dict(run.compose_stop(exit_status="success"))


def _keys(camera: str, file: BurstFile) -> Iterator[tuple[str, dict[str, Any]]]:
    source = "imported"
    array = {"source": source, "dtype": "array", "shape": [file.shape[0]]}
    yield (
        f"{camera}_image",
        {
            "source": source,
            "dtype": "array",
            "shape": list(file.shape),
            "dtype_numpy": "<u2",
            "external": "STREAM:",
        },
    )
    yield f"{camera}_frame_time_ns", {**array, "dtype_numpy": "<i8", "units": "ns"}
    yield f"{camera}_event_flag", {**array, "dtype_numpy": "|u1"}
    yield f"{camera}_valid", {**array, "dtype_numpy": "|u1"}
    number = {"source": source, "dtype": "integer", "shape": [], "dtype_numpy": "<i8"}
    yield f"{camera}_frames", number
    yield f"{camera}_sha256", {"source": source, "dtype": "string", "shape": []}


def _values(camera: str, file: BurstFile) -> Iterator[tuple[str, Any]]:
    frames = file.shape[0]
    yield f"{camera}_frame_time_ns", [round(time_ns) for time_ns in file.frame_time_ns.tolist()]
    yield f"{camera}_event_flag", file.event_flag.tolist()
    yield f"{camera}_valid", [1] * frames
    yield f"{camera}_frames", frames
    yield f"{camera}_sha256", file.sha256
