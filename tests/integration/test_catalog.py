"""Runs as the plans and the reconstruction emit them, through a real server and real files."""

from contextlib import closing

import h5py
import numpy as np
import pytest
from event_model import compose_run
from tiled.client import from_uri
from tiled.client.utils import ClientError

from xfusion_bluesky.catalog import (
    Catalog,
    CatalogError,
    RunNotFound,
    UnreadableFolder,
    check_readable,
    connect,
)
from xfusion_bluesky.processing.tiled_server import TiledServer

H, W = 6, 8
FRAMES = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("catalog")


@pytest.fixture(scope="module")
def server(folder):
    (folder / "raw images").mkdir()
    with TiledServer.start(folder / "state", [folder / "raw images"]) as server:
        yield server


@pytest.fixture(scope="module")
def catalog(server):
    catalog = Catalog(connect(server.uri, api_key=server.api_key), "beamline/xfusion")
    yield catalog
    catalog.close()


@pytest.fixture
def client(server):
    client = connect(server.uri, api_key=server.api_key)
    yield client
    client.context.close()


def image_key(*shape, dtype="<u2"):
    return {
        "source": "PV",
        "dtype": "array",
        "shape": list(shape),
        "dtype_numpy": dtype,
        "external": "STREAM:",
    }


def write_images(path, images):
    with h5py.File(path, "w") as file:
        file.create_dataset("/entry/data/data", data=images, chunks=(1, H, W))


def emit_file(writer, run, descriptor, path, key, chunk_shape, seq_nums, per_event):
    """One file: StreamResource, then one StreamDatum for all its events or one for each."""
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key=key,
        parameters={
            "dataset": "/entry/data/data",
            "chunk_shape": chunk_shape,
            "join_method": "stack",
        },
    )
    writer("stream_resource", resource.stream_resource_doc)
    first, last = seq_nums
    ranges = [(s, s + 1) for s in range(first, last)] if per_event else [(first, last)]
    for start, stop in ranges:
        datum = resource.compose_stream_datum(
            {"start": start - first, "stop": stop - first},
            seq_nums={"start": start, "stop": stop},
            descriptor=descriptor.descriptor_doc,
        )
        writer("stream_datum", datum)


def emit_raw(writer, folder, scan_id, bursts=2):
    """A raw run: one event and one closed file a burst."""
    run = compose_run(metadata={"scan_id": scan_id, "plan_name": "dual_burst"})
    writer("start", run.start_doc)
    times = {"source": "PV", "dtype": "array", "shape": [FRAMES], "dtype_numpy": "<i8"}
    valid = {"source": "file", "dtype": "array", "shape": [3], "dtype_numpy": "|u1"}
    keys = {
        "shimadzu_image": image_key(FRAMES, H, W),
        "shimadzu_frame_time_ns": times,
        "shimadzu_valid": valid,
        "shimadzu_sha256": {"source": "file", "dtype": "string", "shape": []},
    }
    descriptor = run.compose_descriptor("primary", keys)
    writer("descriptor", descriptor.descriptor_doc)
    images = np.arange(bursts * FRAMES * H * W, dtype="u2").reshape(bursts, FRAMES, H, W)
    for k in range(bursts):
        path = folder / f"{run.start_doc['uid']}_{k}.h5"
        write_images(path, images[k])
        chunk = (1, 16, H, W)
        resource = run.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{path}",
            data_key="shimadzu_image",
            parameters={
                "dataset": "/entry/data/data",
                "chunk_shape": chunk,
                "join_method": "stack",
            },
        )
        writer("stream_resource", resource.stream_resource_doc)
        datum = resource.compose_stream_datum(
            {"start": 0, "stop": 1},
            seq_nums={"start": k + 1, "stop": k + 2},
            descriptor=descriptor.descriptor_doc,
        )
        writer("stream_datum", datum)
        data = {
            "shimadzu_frame_time_ns": [2**60 + 200 * i for i in range(FRAMES)],
            "shimadzu_valid": [1, 0, 1],
            "shimadzu_sha256": "ab" * 32,
        }
        stamps = dict.fromkeys(data, 0.0)
        writer("event", descriptor.compose_event(data=data, timestamps=stamps, filled={}))
    writer("stop", run.compose_stop())
    return run.start_doc["uid"], images


def emit_processed(
    writer, folder, raw_uid="raw", shards=(), *, stop=True, per_event=True, uid=None, **start
):
    """A processed run: one event a frame, files of unequal length."""
    about = {"raw_uid": raw_uid, "raw_seq_num": 1, "backend": {"id": "linear"}, "attempt": 1}
    run = compose_run(uid=uid, metadata=about | start)
    writer("start", run.start_doc)
    keys = {
        "fused": image_key(H, W, dtype="<f4"),
        "tau": {"source": "linear", "dtype": "number", "shape": []},
        "flags": {"source": "linear", "dtype": "integer", "shape": []},
    }
    descriptor = run.compose_descriptor("fused", keys)
    writer("descriptor", descriptor.descriptor_doc)
    total = sum(shards)
    images = np.arange(total * H * W, dtype="f4").reshape(total, H, W)
    done = 0
    for n in shards:
        path = folder / f"{run.start_doc['uid']}_{done}.h5"
        write_images(path, images[done : done + n])
        seq_nums = (done + 1, done + n + 1)
        emit_file(writer, run, descriptor, path, "fused", (1, H, W), seq_nums, per_event)
        for _ in range(n):
            data, stamps = {"tau": 0.5, "flags": 3}, {"tau": 0.0, "flags": 0.0}
            writer("event", descriptor.compose_event(data=data, timestamps=stamps, filled={}))
        done += n
    writer.flush()
    if stop:
        writer("stop", run.compose_stop())
    return run.start_doc["uid"], images


@pytest.fixture(scope="module")
def raw_run(catalog, folder):
    return emit_raw(catalog.writer(catalog.raw), folder / "raw images", scan_id=7)


@pytest.fixture(scope="module")
def processed_run(catalog, folder, raw_run):
    writer = catalog.writer(catalog.processed)
    return emit_processed(writer, folder / "raw images", raw_run[0], (5, 16, 3), scan_id=7)


def test_raw_run_reads_back_by_the_plain_client(server, raw_run):
    uid, images = raw_run
    client = from_uri(server.uri, api_key=server.api_key)
    with closing(client.context):
        check_raw_stream(client["beamline", "xfusion", "raw", uid, "primary"], images)


def check_raw_stream(stream, images):
    np.testing.assert_array_equal(stream["shimadzu_image"].read(), images)
    times = stream["shimadzu_frame_time_ns"].read()
    assert times.dtype == np.int64
    assert times.shape == (2, FRAMES)
    assert times[1, 1] == 2**60 + 200


def test_raw_run_reads_as_a_table(catalog, raw_run):
    uid, images = raw_run
    table = catalog.run(uid)["primary"].read()
    np.testing.assert_array_equal(table["shimadzu_image"], images)
    np.testing.assert_array_equal(table["shimadzu_valid"], [[1, 0, 1]] * 2)
    assert table["shimadzu_valid"].dtype.kind in "iu"


@pytest.mark.parametrize("which", ["raw_run", "processed_run"])
def test_documents_come_back(catalog, which, request):
    uid, images = request.getfixturevalue(which)
    documents = list(catalog.run(uid).documents())
    names = [name for name, _ in documents]
    assert names[0] == "start"
    assert names[-1] == "stop"
    assert names.count("event") == len(images)
    assert documents[0][1]["uid"] == uid
    assert documents[-1][1]["exit_status"] == "success"


def test_databroker_reads_the_catalogue(catalog, raw_run):
    from databroker.client import CatalogOfBlueskyRuns

    assert isinstance(catalog.raw, CatalogOfBlueskyRuns)
    assert catalog.raw[7].start["uid"] == raw_run[0]


def test_files_of_unequal_length_are_one_movie_in_order(catalog, processed_run):
    # The traps: files shorter than the batch, and StreamDatums for single frames.
    uid, images = processed_run
    stream = catalog.run(uid)["fused"]
    np.testing.assert_array_equal(stream["fused"].read(), images)
    table = stream.read()
    assert table["fused"].shape == images.shape
    assert set(table["flags"].values) == {3}


@pytest.mark.parametrize("per_event", [True, False])
def test_frames_are_seen_while_the_run_goes_on(catalog, folder, per_event):
    writer = catalog.writer(catalog.processed)
    uid, images = emit_processed(
        writer, folder / "raw images", shards=(2, 3), stop=False, per_event=per_event
    )
    assert not catalog.has_stop(uid)
    np.testing.assert_array_equal(catalog.run(uid)["fused"]["fused"].read(), images)


def test_a_half_written_run_is_replaced_and_its_files_stay(catalog, folder):
    images = folder / "raw images"
    writer = catalog.writer(catalog.processed)
    uid, _ = emit_processed(writer, images, shards=(2,), stop=False)
    catalog.delete_run(catalog.processed, uid)
    catalog.delete_run(catalog.processed, uid)
    assert not catalog.has_stop(uid)
    with pytest.raises(RunNotFound):
        catalog.run(uid)
    with h5py.File(images / f"{uid}_0.h5") as file:
        assert file["/entry/data/data"].shape == (2, H, W)
    writer = catalog.writer(catalog.processed)
    again, _ = emit_processed(writer, images, shards=(2,), uid=uid)
    assert again == uid
    assert catalog.has_stop(uid)


def test_a_second_writer_of_a_run_is_told(catalog, processed_run):
    uid, _ = processed_run
    run = compose_run(uid=uid)
    with pytest.raises(ClientError, match="409"):
        catalog.writer(catalog.processed)("start", run.start_doc)


def test_runs_are_found_by_uid_start_of_uid_and_scan_id(catalog, raw_run, processed_run):
    for uid in (raw_run[0], processed_run[0]):
        for identifier in (uid, uid[:12]):
            assert catalog.run(identifier).start["uid"] == uid
    for identifier in (7, "7"):
        assert catalog.run(identifier).start["uid"] == raw_run[0]


@pytest.mark.parametrize("identifier", ["", "abc", "%%%%%%%%", "no-such-run", 999_999, "999999"])
def test_an_unknown_run_is_said_to_be_unknown(catalog, identifier):
    with pytest.raises(RunNotFound, match=r"No run .* Give a scan id or"):
        catalog.run(identifier)


def test_ambiguous_identifiers_list_the_runs(catalog):
    uids = [f"ambiguous-{k}" for k in range(2)]
    for uid in uids:
        writer = catalog.writer(catalog.raw)
        run = compose_run(uid=uid, metadata={"scan_id": 4711})
        writer("start", run.start_doc)
        writer("stop", run.compose_stop())
    for identifier in ("ambiguous", 4711):
        with pytest.raises(RunNotFound, match=r"ambiguous-0.*ambiguous-1"):
            catalog.run(identifier)
    assert catalog.run("ambiguous-1").start["uid"] == uids[1]


def test_reconstructions_come_by_event_backend_and_attempt(catalog, folder):
    wanted = [(1, "bicubic", 1), (1, "linear", 1), (1, "linear", 2), (2, "bicubic", 1)]
    for seq_num, backend, attempt in reversed(wanted):
        emit_processed(
            catalog.writer(catalog.processed),
            folder / "raw images",
            "some-raw-run",
            raw_seq_num=seq_num,
            backend={"id": backend},
            attempt=attempt,
        )
    starts = [run.start for run in catalog.reconstructions_of("some-raw-run")]
    assert [(s["raw_seq_num"], s["backend"]["id"], s["attempt"]) for s in starts] == wanted
    assert catalog.reconstructions_of("another") == []


def test_a_readable_folder_passes_and_nothing_stays(catalog, folder):
    (folder / "raw images" / "deep").mkdir()
    before = set(catalog._base)
    check_readable(catalog, folder / "raw images" / "deep")
    assert list((folder / "raw images" / "deep").iterdir()) == []
    assert set(catalog._base) == before


def test_an_unreadable_folder_is_refused_with_the_line_to_add(catalog, folder, tmp_path):
    before = set(catalog._base)
    with pytest.raises(UnreadableFolder) as caught:
        check_readable(catalog, tmp_path)
    message = str(caught.value)
    assert f'readable_storage: ["{tmp_path}"]' in message
    assert f"--read {tmp_path}" in message
    assert f"--readable {tmp_path}" in message
    assert list(tmp_path.iterdir()) == []
    assert set(catalog._base) == before


def test_a_second_client_finds_the_same_catalogues(client, raw_run):
    catalog = Catalog(client, "beamline/xfusion")
    assert catalog.run(raw_run[0]).start["uid"] == raw_run[0]


def test_a_container_of_something_else_is_refused(client):
    client.create_container("plain").create_container("raw")
    with pytest.raises(CatalogError, match="no catalogue of Bluesky runs"):
        _ = Catalog(client, "plain").raw


def test_connecting_says_what_is_wrong(server, monkeypatch):
    monkeypatch.delenv("TILED_API_KEY", raising=False)
    with pytest.raises(CatalogError, match="API key"):
        connect(server.uri)
    with pytest.raises(CatalogError, match="refused the connection"):
        connect(server.uri, api_key="wrong")
    with pytest.raises(CatalogError, match=r"answers at http://127\.0\.0\.1:1/api"):
        connect("http://127.0.0.1:1/api/v1", api_key="any")
    with pytest.raises(CatalogError, match="no profile 'nowhere'"):
        connect(profile="nowhere")
    with pytest.raises(CatalogError, match="either"):
        connect()
