import pytest
from pydantic import TypeAdapter

from xfusion_bluesky.documents.processed import (
    BackendIdentity,
    attempt_uid,
    reconstruction_key,
)
from xfusion_bluesky.documents.raw import Burst, BurstReader, bursts_of


def opening():
    keys = {f"{camera}_image": {"shape": [2, 4, 6]} for camera in ("phantom", "shimadzu")}
    data = {"phantom_trigger_delay_ns": 5.0, "shimadzu_trigger_delay_ns": 70.0}
    configuration = {"dual": {"data": {**data, "shimadzu_bit_shift": 6}}}
    descriptor = {
        "uid": "d",
        "name": "primary",
        "data_keys": keys,
        "configuration": configuration,
    }
    return [("start", {"uid": "r", "purpose": "dual-burst"}), ("descriptor", descriptor)]


def files(seq_num=1):
    for camera in ("phantom", "shimadzu"):
        uid = f"{camera}{seq_num}"
        yield (
            "stream_resource",
            {
                "uid": uid,
                "uri": f"file://localhost/data/50%#1/{uid}.h5",
                "data_key": f"{camera}_image",
                "parameters": {"dataset": "/entry/data/data"},
            },
        )
        numbers = {"start": seq_num, "stop": seq_num + 1}
        yield "stream_datum", {"stream_resource": uid, "seq_nums": numbers}


def event(seq_num=1):
    data = {}
    for camera in ("phantom", "shimadzu"):
        data |= {
            f"{camera}_frame_time_ns": [0, 1000],
            f"{camera}_valid": [1, 0],
            f"{camera}_event_flag": [0, 1],
            f"{camera}_sha256": "f",
        }
    return "event", {"descriptor": "d", "seq_num": seq_num, "data": data}


@pytest.mark.parametrize("event_first", [True, False])
def test_files_may_come_before_or_after_their_event(event_first):
    middle = [event(), *files()] if event_first else [*files(), event()]
    (burst,) = bursts_of([*opening(), *middle])
    assert str(burst.phantom.file) == "/data/50%#1/phantom1.h5"
    assert burst.shimadzu.time_ns == (70.0, 1070.0)
    assert burst.shimadzu.valid == (True, False)
    assert burst.shimadzu.bit_shift == 6
    assert burst.phantom.bit_shift == 0


def test_bursts_of_one_run_are_kept_apart():
    docs = [*opening(), event(1), event(2), *files(2), *files(1)]
    assert [burst.seq_num for burst in bursts_of(docs)] == [2, 1]


def test_other_streams_and_unfinished_bursts_give_nothing():
    reader = BurstReader()
    other = ("event", {"descriptor": "baseline", "seq_num": 1, "data": {}})
    assert all(reader.feed(*pair) is None for pair in [*opening(), other, event()])


def test_a_burst_survives_the_way_to_another_process():
    (burst,) = bursts_of([*opening(), event(), *files()])
    adapter = TypeAdapter(Burst)
    assert adapter.validate_json(adapter.dump_json(burst)) == burst


def test_the_key_tells_what_would_change_the_result():
    (burst,) = bursts_of([*opening(), event(), *files()])
    backend = BackendIdentity("linear", "xfusion-motion", "1")
    key = reconstruction_key(burst, backend, {"a": 1, "b": 2})
    assert reconstruction_key(burst, backend, {"b": 2, "a": 1}) == key
    assert reconstruction_key(burst, backend, {"a": 2, "b": 2}) != key
    newer = BackendIdentity("linear", "xfusion-motion", "2")
    assert reconstruction_key(burst, newer, {"a": 1, "b": 2}) != key
    assert len({key, attempt_uid(key, 1), attempt_uid(key, 2)}) == 3
