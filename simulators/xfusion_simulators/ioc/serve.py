"""The IOC process: bound to loopback, one beamline, until it is told to end."""

import asyncio
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from caproto.asyncio.server import start_server

from ..configuration import BeamlineConfig, Part
from .beamline import Beamline

LOOPBACK = "127.0.0.1"
READY = "READY"
REPEATER_PORT = "EPICS_CA_REPEATER_PORT"


def serve(config: BeamlineConfig, *, with_parent: bool) -> None:
    """Serve a beamline until SIGTERM or SIGINT.

    Parameters
    ----------
    config : BeamlineConfig
    with_parent : bool
        End when standard input closes, that is when the process that started this one ends.

    Raises
    ------
    RuntimeError
        When another process uses the memory folder.
    """
    confine_to_loopback()
    owner = nullcontext() if config.part is Part.BEAM else sole_owner(config)
    with owner, beacon_sink():
        asyncio.run(_serve(config, with_parent))


async def _serve(config: BeamlineConfig, with_parent: bool) -> None:
    beamline = Beamline(config)
    await beamline.prepare()
    server = asyncio.create_task(
        start_server(beamline.pvdb, interfaces=[LOOPBACK], startup_hook=_announce)
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.cancel)
    if with_parent:
        loop.add_reader(sys.stdin.fileno(), _end_with_parent, loop, server)
    try:
        with suppress(asyncio.CancelledError):
            await server
    finally:
        beamline.shut_down()


def _end_with_parent(loop: asyncio.AbstractEventLoop, server: "asyncio.Task[None]") -> None:
    loop.remove_reader(sys.stdin.fileno())
    server.cancel()


async def _announce(async_lib: Any) -> None:
    sys.stdout.write(f"{READY} {os.getpid()}\n")
    sys.stdout.flush()


def confine_to_loopback() -> None:
    """Keep beacons and searches of this process on this machine, whatever the environment says."""
    os.environ.update(
        EPICS_CAS_INTF_ADDR_LIST=LOOPBACK,
        EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
        EPICS_CAS_BEACON_ADDR_LIST=LOOPBACK,
        EPICS_CAS_BEACON_PORT=os.environ.get(REPEATER_PORT, "5065"),
    )


@contextmanager
def beacon_sink() -> Iterator[None]:
    """Hold the beacon port open, so that beacons do not bounce when no repeater listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        with suppress(OSError):
            sink.bind((LOOPBACK, int(os.environ["EPICS_CAS_BEACON_PORT"])))
        yield


@contextmanager
def sole_owner(config: BeamlineConfig) -> Iterator[None]:
    """Own the memory folder; two IOCs on one camera memory would destroy each other's bursts."""
    config.memory_folder.mkdir(parents=True, exist_ok=True)
    with open(config.memory_folder / "owner.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"The simulated beamline did not start: another one uses {config.memory_folder}. "
                "Stop it or choose another memory_folder. Bursts in memory are untouched."
            ) from None
        yield
