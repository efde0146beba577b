"""Devices: whether every PV answers, and the cameras are behind their IOCs."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..configuration import Configuration, Devices
from ..simulation import Simulation
from .finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from ophyd import Device

CONNECTION_LIMIT_S = 5.0
_READ_LIMIT_S = 2.0
# A preview frame of the larger camera, which a C IOC sends only when this variable allows it.
_PREVIEW_BYTES = 800 * 1280 * 2
_CA_VARIABLES = (
    "EPICS_CA_ADDR_LIST",
    "EPICS_CA_AUTO_ADDR_LIST",
    "EPICS_CA_SERVER_PORT",
    "EPICS_CA_MAX_ARRAY_BYTES",
)


def look(configuration: Configuration, ended: threading.Event) -> Iterator[Finding]:
    """Look at the control layer, then at each device.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.
    ended : threading.Event
        Set when nobody listens any more.
    """
    if any(importlib.util.find_spec(name) is None for name in ("bluesky", "caproto", "ophyd")):
        yield warn(
            "control system",
            "bluesky, ophyd or caproto is not installed: this computer runs no plans",
            "where plans are to run: pip install 'xfusion-bluesky[epics]'",
        )
        return
    state = configuration.folders.state
    simulation = Simulation.running(state)
    if simulation is not None:
        os.environ.update(simulation.environment)
    yield channel_access(simulation is not None)
    if simulation is None and configuration.devices == Devices():
        yield fail(
            "IOCs",
            f"no simulated beamline runs in {state}, and [devices] names no other",
            "xfusion-bluesky sim start, or write the PV prefixes of your beamline into [devices]",
        )
        if "EPICS_CA_ADDR_LIST" not in os.environ:
            return

    from ..beamline import make_devices

    devices = make_devices(configuration)
    dual = devices.dual
    deadline = time.monotonic() + CONNECTION_LIMIT_S
    for device in (dual.phantom, dual.shimadzu, dual.delay_generator, *devices.all()[1:]):
        yield connected(device, max(0.1, deadline - time.monotonic()))


def channel_access(simulated: bool) -> Finding:
    """Look at the variables by which clients find IOCs.

    Parameters
    ----------
    simulated : bool
        Whether they are those of a simulated beamline.
    """
    subject = "Channel Access"
    told = {name: os.environ[name] for name in _CA_VARIABLES if name in os.environ}
    found = ", ".join(f"{name}={value}" for name, value in told.items()) or "no variable is set"
    automatic = told.get("EPICS_CA_AUTO_ADDR_LIST", "YES").upper() != "NO"
    if not automatic and not told.get("EPICS_CA_ADDR_LIST", "").strip():
        return fail(
            subject,
            f"{found}: no IOC can be found",
            "set EPICS_CA_ADDR_LIST to the addresses of the IOCs or of a gateway",
        )
    most = told.get("EPICS_CA_MAX_ARRAY_BYTES", "")
    if most and (not most.isdecimal() or int(most) < _PREVIEW_BYTES):
        return warn(
            subject,
            f"{found}: no preview frame fits",
            f"set EPICS_CA_MAX_ARRAY_BYTES to {2 * _PREVIEW_BYTES}, here and for the IOCs",
        )
    return ok(subject, f"{found}{' (simulated beamline)' if simulated else ''}")


def connected(device: Device, limit_s: float) -> Finding:
    """Look whether all PVs of a device answer, and a camera behind them.

    Parameters
    ----------
    device : ophyd.Device
        From `beamline.make_devices`.
    limit_s : float
        Longest wait for its PVs, in s.
    """
    signals = [walk.item for walk in device.walk_signals() if hasattr(walk.item, "pvname")]
    try:
        device.wait_for_connection(timeout=limit_s)
    except TimeoutError:
        away = [signal.pvname for signal in signals if not signal.connected]
        if away:
            all_of_them = len(away) == len(signals)
            return fail(
                device.name,
                f"PV {away[0]} does not answer, {len(away)} of {len(signals)} do not",
                f"start its IOC, or correct '{device.name}' in [devices] and EPICS_CA_ADDR_LIST"
                if all_of_them
                else "the IOC is of another version: compare with docs/reference/simulated-pvs.md",
            )
    camera = getattr(device, "connected_to_camera", None)
    if camera is not None:
        says = camera.get(timeout=_READ_LIMIT_S, connection_timeout=_READ_LIMIT_S)
        if says != "Connected":
            return fail(
                device.name,
                f"the IOC runs, but {camera.pvname} says {says}",
                "switch the camera on and look at its network, then at the log of its IOC",
            )
    return ok(device.name, f"{len(signals)} PVs at {device.prefix} answer")
