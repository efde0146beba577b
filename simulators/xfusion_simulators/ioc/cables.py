"""What travels from the beam's devices to the cameras at T0, within a process or between two."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from ..scene import Beam

LOOPBACK = "127.0.0.1"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shot:
    """One T0."""

    number: int
    """Shots since the delay generator's IOC started, from 1."""
    phantom_ns: float
    """Trigger of the Phantom, true ns after T0."""
    shimadzu_ns: float
    """Trigger of the Shimadzu, true ns after T0."""
    beam: Beam
    """What stood in the beam."""


_SHOT = TypeAdapter(Shot)


def send(shot: Shot, port: int) -> None:
    """Send T0 to the cameras' process; when none listens, the trigger is lost as on a real cable.

    Parameters
    ----------
    shot : Shot
    port : int
        Loopback UDP port of the cameras' process.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as cable:
        cable.sendto(_SHOT.dump_json(shot), (LOOPBACK, port))


async def listen(port: int, take: Callable[[Shot], Awaitable[None]]) -> asyncio.DatagramTransport:
    """Hand every T0 that arrives to `take`, until the transport is closed."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Cable(take), local_addr=(LOOPBACK, port)
    )
    return transport


class _Cable(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[Shot], Awaitable[None]]) -> None:
        self._take = take
        self._tasks: set[asyncio.Future[None]] = set()

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            shot = _SHOT.validate_json(data)
        except ValidationError as error:
            logger.warning("Something that is no T0 came in: %s", error)
            return
        task = asyncio.ensure_future(self._take(shot))
        # The loop keeps only weak references to tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
