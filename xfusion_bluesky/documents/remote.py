"""A raw run as Tiled shows it, turned back into documents whose frames are files on this machine.

The run is a client object that is passed in: nothing here imports Tiled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import h5py

from xfusion_bluesky.documents.raw import CAMERAS

DATASET = "/entry/data/data"
_FRAMES_AT_ONCE = 16
_LISTS = ("frame_time_ns", "event_flag", "valid")


def documents_of_run(
    run: Any,
    cache: Path,
    visible: Callable[[str], Path | None],
    seq_nums: Collection[int] | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what `documents.raw.bursts_of` needs to know of a raw run in Tiled.

    Frames whose file is not visible here are downloaded once, to files of the same layout.

    Parameters
    ----------
    run : BlueskyRun
        Client of the raw run, e.g. from `Catalog.run`.
    cache : Path
        Folder for downloaded frames: ``<cache>/<raw_uid>/<seq_num>_<camera>.h5``. It may be
        deleted whenever nothing is being reconstructed.
    visible : callable
        Gets the URI of a burst file and returns where it lies on this machine, None when it does
        not or must not be opened.
    seq_nums : collection of int, optional
        Only these bursts, from 1; all of them by default.

    Yields
    ------
    (str, dict)
        Name and document. Their uids are not those of the original documents.

    Raises
    ------
    KeyError
        The run is no burst of both cameras.
    """
    start = dict(run.metadata["start"])
    yield "start", start
    if "primary" not in run:
        return
    stream = run["primary"]
    about = stream.metadata
    descriptor = {
        "uid": "primary",
        "name": "primary",
        "data_keys": about["data_keys"],
        "configuration": about.get("configuration") or {},
    }
    yield "descriptor", descriptor
    # Not by column of the stream: each would cost several requests.
    parts = stream.base
    table = parts.get("internal")
    if table is None:
        return
    scalars = table.read()
    recorded = [int(number) for number in scalars["seq_num"]]
    images = {camera: parts[f"{camera}_image"] for camera in CAMERAS}
    files = {camera: _files(image) for camera, image in images.items()}
    columns = {
        key: scalars[key].array if key in scalars else parts[key].read()
        for camera in CAMERAS
        for key in (f"{camera}_{name}" for name in (*_LISTS, "sha256"))
    }
    for index, seq_num in enumerate(recorded):
        if seq_nums is not None and seq_num not in seq_nums:
            continue
        for camera, image in images.items():
            if index >= image.shape[0]:
                break  # a run that goes on: the file of this burst is not registered yet
            uri, dataset = files[camera](index)
            path = None if uri is None else visible(uri)
            if path is None:
                path = cache / start["uid"] / f"{seq_num}_{camera}.h5"
                dataset = DATASET
                _download(image, index, path)
            uid = f"{camera} {seq_num}"
            yield (
                "stream_resource",
                {
                    "uid": uid,
                    "uri": f"file://localhost{path}",
                    "data_key": f"{camera}_image",
                    "parameters": {"dataset": dataset},
                },
            )
            numbers = {"start": seq_num, "stop": seq_num + 1}
            yield "stream_datum", {"stream_resource": uid, "seq_nums": numbers}
        data = {key: _plain(values[index]) for key, values in columns.items()}
        yield "event", {"descriptor": "primary", "seq_num": seq_num, "data": data}


def _files(image: Any) -> Callable[[int], tuple[str | None, str]]:
    """Return which file, and which dataset in it, holds the frames of an event."""
    (source,) = image.data_sources()
    assets = sorted(source.assets, key=lambda asset: asset.num or 0)
    dataset = str(source.parameters.get("dataset", DATASET))
    one_each = len(assets) == image.shape[0]

    def file_of(index: int) -> tuple[str | None, str]:
        return (str(assets[index].data_uri) if one_each else None), dataset

    return file_of


def _download(image: Any, index: int, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    _, frames, height, width = image.shape
    try:
        with h5py.File(draft, "w", locking=False) as file:
            shape, chunks = (frames, height, width), (1, height, width)
            data = file.create_dataset(DATASET, shape, dtype=image.dtype, chunks=chunks)
            for first in range(0, frames, _FRAMES_AT_ONCE):
                stop = min(first + _FRAMES_AT_ONCE, frames)
                data[first:stop] = image[index, first:stop]
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
