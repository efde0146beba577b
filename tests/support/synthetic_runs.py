"""Raw runs as the plans emit them, with small synthetic burst files."""

import h5py
import numpy as np
from event_model import compose_run

N = 5
LR, HR = (8, 10), (32, 40)


def write_burst(path, frames, truth=None):
    with h5py.File(path, "w") as file:
        file["/entry/data/data"] = frames
        if truth is not None:
            name = path.stem + ".truth.h5"
            file.attrs["truth_file"] = name
            with h5py.File(path.parent / name, "w") as other:
                other["/truth/frames"] = truth
                other["/truth/frames"].attrs["scale"] = 200.0


def emit_run(callback, folder, purpose, make, bursts=1, **md):
    run = compose_run(metadata={"purpose": purpose, "plan_name": purpose, "scan_id": 7, **md})
    callback("start", run.start_doc)
    keys = {}
    for camera, shape in (("phantom", HR), ("shimadzu", LR)):
        image = {"source": "x", "dtype": "array", "shape": [N, *shape], "dtype_numpy": "<u2"}
        keys[f"{camera}_image"] = {**image, "external": "STREAM:"}
        for name, kind in (("frame_time_ns", "<i8"), ("event_flag", "|u1"), ("valid", "|u1")):
            keys[f"{camera}_{name}"] = {
                "source": "x",
                "dtype": "array",
                "shape": [N],
                "dtype_numpy": kind,
            }
        keys[f"{camera}_sha256"] = {"source": "x", "dtype": "string", "shape": []}
    delays = {"phantom_trigger_delay_ns": 0.0, "shimadzu_trigger_delay_ns": 500.0}
    data = {**delays, "shimadzu_bit_shift": 6}
    number = {"source": "x", "dtype": "number", "shape": []}
    configuration = {
        "dual": {
            "data": data,
            "timestamps": dict.fromkeys(data, 0.0),
            "data_keys": dict.fromkeys(data, number),
        }
    }
    descriptor = run.compose_descriptor(
        "primary", keys, configuration=configuration, object_keys={"dual": list(keys)}
    )
    callback("descriptor", descriptor.descriptor_doc)
    for k in range(bursts):
        values = {}
        for camera, shape in (("phantom", HR), ("shimadzu", LR)):
            path = folder / f"{run.start_doc['uid']}_{k}_{camera}.h5"
            write_burst(path, *make(camera, shape))
            resource = run.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{path}",
                data_key=f"{camera}_image",
                parameters={
                    "dataset": "/entry/data/data",
                    "chunk_shape": [1, 16, *shape],
                    "join_method": "stack",
                },
            )
            callback("stream_resource", resource.stream_resource_doc)
            datum = resource.compose_stream_datum(
                {"start": k, "stop": k + 1},
                seq_nums={"start": k + 1, "stop": k + 2},
                descriptor=descriptor.descriptor_doc,
            )
            callback("stream_datum", datum)
            values |= {
                f"{camera}_frame_time_ns": [1000 * i for i in range(N)],
                f"{camera}_event_flag": [1] * N,
                f"{camera}_valid": [1] * N,
                f"{camera}_sha256": "0" * 64,
            }
        event = descriptor.compose_event(data=values, timestamps=dict.fromkeys(values, 0.0))
        callback("event", event)
    callback("stop", run.compose_stop())
    return run.start_doc["uid"]


def references_and_burst(callback, raw):
    rng = np.random.default_rng(0)

    def level(counts):
        def make(camera, shape):
            noisy = rng.poisson(counts, (N, *shape)).astype("u2")
            return (noisy << 6 if camera == "shimadzu" else noisy,)

        return make

    truth = rng.integers(20, 180, (N, *HR)).astype("u1")

    def sample(camera, shape):
        frames, *_ = level(500)(camera, shape)
        return (frames, truth) if camera == "shimadzu" else (frames,)

    dark = emit_run(callback, raw, "dark", level(10))
    flat = emit_run(callback, raw, "flat", level(900))
    return emit_run(
        callback, raw, "dual-burst", sample, 2, dark_uid=dark, flat_uid=flat, calibration_uid=None
    )
