"""What an operator finds at the prompt: RunEngine, devices, plans, catalogue, table, progress."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import __version__
from .beamline import Beamline, BeamlineAway, connect_beamline
from .configuration import Configuration, Devices
from .processing.service import TILED_FOLDER, ServiceProcess
from .processing.tiled_server import TiledServer
from .simulation import Simulation

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

CONNECTION_LIMIT_S = 5.0


def open_beamline(configuration: Configuration) -> Beamline:
    """Connect to the beamline of a configuration: the simulated one of its folder, or the real one.

    Sets the EPICS variables of a simulated beamline that runs.

    Parameters
    ----------
    configuration : Configuration
        With absolute folders.

    Raises
    ------
    BeamlineAway
        No IOC answers.
    """
    state = configuration.folders.state
    simulation = Simulation.running(state)
    if simulation is not None:
        os.environ.update(simulation.environment)
    elif configuration.devices == Devices() and "EPICS_CA_ADDR_LIST" not in os.environ:
        raise BeamlineAway(
            f"No simulated beamline runs in {state}, and [devices] names no other: start it with "
            "'xfusion-bluesky sim start', or give --config the file of the beamline you mean."
        )
    return connect_beamline(configuration, limit_s=CONNECTION_LIMIT_S)


def namespace(beamline: Beamline) -> dict[str, Any]:
    """Return the names at the prompt, and switch on table and progress bar.

    Parameters
    ----------
    beamline : Beamline
        From `open_beamline`.

    Returns
    -------
    dict
        ``RE``, ``bec``, ``catalog``, ``beamline``, the devices, the plans of this package, and
        Bluesky's own plans and plan stubs as ``bp`` and ``bps``.
    """
    import bluesky.plan_stubs
    import bluesky.plans
    from bluesky.callbacks.best_effort import BestEffortCallback
    from bluesky.utils import ProgressBarManager

    from . import plans

    bec = BestEffortCallback()
    bec.disable_plots()
    beamline.RE.subscribe(bec)
    beamline.RE.waiting_hook = ProgressBarManager()
    dual = beamline.dual
    return {
        "RE": beamline.RE,
        "bec": bec,
        "catalog": beamline.catalog,
        "beamline": beamline,
        "dual": dual,
        "phantom": dual.phantom,
        "shimadzu": dual.shimadzu,
        "delay_generator": dual.delay_generator,
        "shutter": beamline.shutter,
        "sample": beamline.sample,
        "mesh": beamline.mesh,
        **{name: getattr(plans, name) for name in plans.__all__},
        "bp": bluesky.plans,
        "bps": bluesky.plan_stubs,
    }


def banner(beamline: Beamline) -> str:
    """Return what is there, what runs, and what to type first."""
    from . import plans

    folders = beamline.configuration.folders
    simulation = Simulation.running(folders.state)
    iocs = f"simulated, process {simulation.pid}" if simulation else "connected"
    service = ServiceProcess.running(folders.state)
    mesh = "" if beamline.mesh is None else ", mesh"
    works = f"process {service.pid}" if service else "not running; runs wait in the journal"
    return "\n".join(
        [
            f"xfusion-bluesky {__version__}, bursts go to {folders.raw}",
            f"  IOCs     {iocs}",
            f"  Tiled    {_tiled(beamline)}",
            f"  service  {works}",
            f"  devices  dual (phantom, shimadzu, delay_generator), shutter, sample{mesh}",
            f"  plans    {', '.join(plans.__all__)}; Bluesky's own in bp and bps",
            "  others   RE, catalog, bec, beamline, and %wa, which lists the devices",
            "Type first:  RE(dual_burst(dual, shutter))",
        ]
    )


def _tiled(beamline: Beamline) -> str:
    tiled = beamline.configuration.tiled
    if beamline.catalog is None:
        return "away; once it is back, type: catalog = beamline.catalog"
    server = TiledServer.running(beamline.configuration.folders.state / TILED_FOLDER)
    return server.uri if tiled.embedded and server else str(tiled.uri or tiled.profile)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Make Bluesky's ``%mov``, ``%ct``, ``%wa`` and their like use the RunEngine at the prompt.

    Parameters
    ----------
    shell : InteractiveShell
        IPython's; ``%load_ext xfusion_bluesky.console`` gives it.
    """
    from bluesky.magics import BlueskyMagics

    engine = shell.user_ns["RE"]
    BlueskyMagics.RE = engine
    BlueskyMagics.pbar_manager = engine.waiting_hook
    shell.register_magics(BlueskyMagics)
