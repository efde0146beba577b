import json
import os
import select
import signal
import subprocess
import sys

import h5py
import psutil
import pytest
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline, free_port

LIMIT_S = 10.0

STARTER = """
import sys, time
from pathlib import Path
from xfusion_simulators.configuration import BeamlineConfig
from xfusion_simulators.launch import SimulatedBeamline
config = BeamlineConfig(memory_folder=Path(sys.argv[1]), frames=2)
beamline = SimulatedBeamline.start(config, detached=sys.argv[2] == "detached")
print(beamline.pid, flush=True)
sys.stdin.read()
"""


def await_end(pidfd):
    """Wait until a process has ended, even one that nobody reaps."""
    readable, _, _ = select.select([pidfd], [], [], LIMIT_S)
    assert readable, f"still running after {LIMIT_S} s"


def start_in_another_process(folder, how):
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return parent, os.pidfd_open(int(parent.stdout.readline()))


def kill(parent):
    parent.kill()
    parent.wait(LIMIT_S)
    parent.stdin.close()
    parent.stdout.close()


def test_everything_is_bound_to_loopback(beamline, operator):
    process = psutil.Process(beamline.pid)
    addresses = {c.laddr.ip for c in process.net_connections("inet") if c.laddr}
    assert addresses == {"127.0.0.1"}


def test_the_camera_memory_survives_a_killed_ioc(beamline, operator, tmp_path):
    operator.light()
    operator.arm()
    operator.fire()
    before = operator.download(tmp_path, "before")
    os.kill(beamline.pid, signal.SIGKILL)
    beamline.restart()

    # A new client: the old one would take seconds to search for the IOC again.
    returning = type(operator)(beamline.config.prefix, beamline.environment)
    assert returning.get("PHANTOM:CAM:C1:StateRaw") == 2
    assert returning.text("HPVX2:CAM:ArmState_RBV") == "Recorded"
    after = returning.download(tmp_path, "after")
    assert returning.play_back(tmp_path, "shimadzu").exists()
    returning.close()
    with h5py.File(before) as one, h5py.File(after) as two:
        assert (one["/entry/data/data"][:] == two["/entry/data/data"][:]).all()


def test_nothing_is_left_running_after_stop(tmp_path):
    config = BeamlineConfig(memory_folder=tmp_path, frames=2)
    with SimulatedBeamline.start(config) as beamline:
        process = psutil.Process(beamline.pid)
        pidfd = os.pidfd_open(beamline.pid)
        assert process.children() == []
    await_end(pidfd)
    os.close(pidfd)
    assert not process.is_running()
    beamline.stop()
    assert beamline.log.read_text() == ""
    with pytest.raises(RuntimeError, match="not running"):
        _ = beamline.pid


def test_the_ioc_ends_with_the_process_that_started_it(tmp_path):
    parent, pidfd = start_in_another_process(tmp_path, "tied")
    kill(parent)
    await_end(pidfd)
    os.close(pidfd)


def test_a_detached_ioc_outlives_the_process_that_started_it(tmp_path):
    parent, pidfd = start_in_another_process(tmp_path, "detached")
    kill(parent)
    readable, _, _ = select.select([pidfd], [], [], 0.2)
    assert not readable
    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    await_end(pidfd)
    os.close(pidfd)


def test_two_beamlines_never_share_a_memory(beamline):
    with pytest.raises(RuntimeError, match="another one uses"):
        SimulatedBeamline.start(beamline.config, log=beamline.config.memory_folder / "second.log")


def test_an_ioc_that_cannot_start_says_why(tmp_path):
    config = BeamlineConfig(memory_folder=tmp_path, scene=tmp_path / "absent.h5")
    with pytest.raises(RuntimeError, match=r"absent\.h5"):
        SimulatedBeamline.start(config)


def test_the_config_file_is_the_whole_configuration(beamline):
    written = json.loads((beamline.config.memory_folder / "beamline.json").read_text())
    assert BeamlineConfig.model_validate(written) == beamline.config


def test_a_free_port_is_a_port():
    assert 1024 < free_port() < 65536
