"""The instrument of one configuration: RunEngine, devices, and the callback that reconstructs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .configuration import Configuration

if TYPE_CHECKING:
    from bluesky import RunEngine
    from ophyd import EpicsMotor

    from .devices.dual import DualCamera
    from .devices.shutter import Shutter

CONNECTION_LIMIT_S = 15.0


@dataclass(frozen=True)
class Beamline:
    """What an operator has in hand.

    Parameters
    ----------
    RE : RunEngine
        With the reconstruction callback subscribed; plans return their result.
    dual : DualCamera
        Both cameras as one detector.
    shutter : Shutter
        Beam shutter.
    sample : EpicsMotor
        Stage that takes the sample out of the beam.
    """

    RE: RunEngine
    dual: DualCamera
    shutter: Shutter
    sample: EpicsMotor


def connect_beamline(configuration: Configuration) -> Beamline:
    """Make the devices of a configuration, connect them, and subscribe the callback.

    Call it after the EPICS environment variables are set. The control layer is caproto unless
    ``OPHYD_CONTROL_LAYER`` says otherwise.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.

    Raises
    ------
    TimeoutError
        When a PV does not answer within 15 s.
    """
    import ophyd
    from bluesky import RunEngine

    if "OPHYD_CONTROL_LAYER" not in os.environ:
        ophyd.set_cl("caproto")

    from .devices.delay_generator import DelayGenerator
    from .devices.dual import DualCamera
    from .devices.phantom import PhantomCamera
    from .devices.shimadzu import ShimadzuCamera
    from .devices.shutter import Shutter
    from .processing.callback import ReconstructionCallback

    prefixes = configuration.devices
    dual = DualCamera(
        PhantomCamera(prefixes.phantom, name="phantom"),
        ShimadzuCamera(prefixes.shimadzu, name="shimadzu"),
        DelayGenerator(prefixes.delay_generator, name="delay_generator"),
        folder=configuration.folders.raw,
        name="dual",
    )
    shutter = Shutter(prefixes.shutter, name="shutter")
    sample = ophyd.EpicsMotor(prefixes.sample, name="sample", labels={"motors"})
    for device in (dual, shutter, sample):
        device.wait_for_connection(timeout=CONNECTION_LIMIT_S)
    engine = RunEngine({}, call_returns_result=True)
    engine.subscribe(ReconstructionCallback(configuration.folders.journal))
    return Beamline(engine, dual, shutter, sample)
