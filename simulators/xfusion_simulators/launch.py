"""Start and stop the simulated beamline as a child process, or as two."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from .configuration import BeamlineConfig, Part

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
LOG_TAIL_CHARACTERS = 2000


class SimulatedBeamline:
    """A running IOC process of a simulated beamline; a context manager that stops it.

    Use :meth:`start`, or :meth:`start_apart` for two processes.

    Attributes
    ----------
    config : BeamlineConfig
    environment : dict of str
        EPICS variables that a client must have set before it imports ophyd or caproto.
    log : Path
        What the IOC process says on standard error.
    """

    def __init__(
        self, config: BeamlineConfig, log: Path, detached: bool, environment: dict[str, str]
    ) -> None:
        self.config = config
        self.log = log
        self.detached = detached
        self.environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls, config: BeamlineConfig, log: Path | None = None, *, detached: bool = False
    ) -> Self:
        """Start the IOC process and wait until it serves.

        Parameters
        ----------
        config : BeamlineConfig
        log : Path, optional
            Where the process writes what it has to say. Default: ``ioc.log`` in the memory folder.
        detached : bool
            Let the beamline outlive this process, in a session of its own. Otherwise it ends
            when this process ends, however that happens.

        Raises
        ------
        RuntimeError
            When the IOC does not come up; the message holds the end of its log.
        """
        config.memory_folder.mkdir(parents=True, exist_ok=True)
        environment = channel_access_environment(free_port(), free_port())
        beamline = cls(config, log or config.memory_folder / "ioc.log", detached, environment)
        beamline.restart()
        return beamline

    @classmethod
    def start_apart(cls, config: BeamlineConfig) -> tuple[Self, Self]:
        """Start the beam's devices and the cameras in processes of their own.

        So it is at a beamline: one of the two can die while the other lives. The environment of
        either lets a client find both; stop both.

        Parameters
        ----------
        config : BeamlineConfig

        Returns
        -------
        beam : SimulatedBeamline
            Shutter, sample stage and delay generator.
        cameras : SimulatedBeamline
            Both cameras.

        Raises
        ------
        RuntimeError
            When one does not come up; none is left running.
        """
        config.memory_folder.mkdir(parents=True, exist_ok=True)
        ports, cable_port = (free_port(), free_port()), free_port()
        search = {"EPICS_CA_ADDR_LIST": " ".join(f"{LOOPBACK}:{port}" for port in ports)}
        started: list[Self] = []
        try:
            for part, port in zip((Part.BEAM, Part.CAMERAS), ports, strict=True):
                serves = config.model_copy(update={"part": part, "cable_port": cable_port})
                environment = {**channel_access_environment(port, free_port()), **search}
                log = config.memory_folder / f"ioc-{part}.log"
                started.append(cls(serves, log, False, environment))
                started[-1].restart()
        except RuntimeError:
            for beamline in started:
                beamline.stop()
            raise
        beam, cameras = started
        return beam, cameras

    @property
    def pid(self) -> int:
        """Process id of the IOC.

        Raises
        ------
        RuntimeError
            When it was stopped.
        """
        if self._process is None:
            raise RuntimeError("The simulated beamline is not running; start it first.")
        return self._process.pid

    def restart(self) -> None:
        """Start the IOC again on the same ports, after stopping it if it still runs."""
        self.stop()
        name = "beamline" if self.config.part is Part.ALL else f"beamline-{self.config.part}"
        config_file = self.config.memory_folder / f"{name}.json"
        config_file.write_text(self.config.model_dump_json(indent=2))
        command = [sys.executable, "-m", "xfusion_simulators", str(config_file)]
        if not self.detached:
            command.append("--with-parent")
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if self.detached else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=self.detached,
            )
        try:
            self._await_ready(self._process)
        except RuntimeError:
            self.stop()
            raise

    @property
    def is_running(self) -> bool:
        """Whether the IOC process is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the IOC; bounded in time, and quiet when it has ended already."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait(STOP_TIMEOUT_S)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def _await_ready(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stdout is None:
            raise RuntimeError("The IOC was started without a pipe to hear from it.")
        deadline = time.monotonic() + START_TIMEOUT_S
        heard = b""
        while b"\n" not in heard:
            left_s = deadline - time.monotonic()
            readable, _, _ = select.select([process.stdout], [], [], max(left_s, 0))
            said = os.read(process.stdout.fileno(), 1024) if readable else b""
            if not said:
                why = "ended" if readable else f"was not ready within {START_TIMEOUT_S:.0f} s"
                tail = self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
                raise RuntimeError(
                    f"The simulated beamline did not start: its IOC process {why}. "
                    f"End of its log {self.log}:\n{tail}"
                )
            heard += said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def channel_access_environment(server_port: int, repeater_port: int) -> dict[str, str]:
    """EPICS variables that keep clients and IOC to themselves on this machine."""
    return {
        "EPICS_CA_ADDR_LIST": LOOPBACK,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(server_port),
        "EPICS_CA_REPEATER_PORT": str(repeater_port),
        "EPICS_CAS_SERVER_PORT": str(server_port),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_PORT": str(repeater_port),
    }


def free_port() -> int:
    """Find a loopback port that is free on TCP and on UDP."""
    for _ in range(50):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind((LOOPBACK, 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise RuntimeError("No port is free on both TCP and UDP; are thousands of IOCs running?")
