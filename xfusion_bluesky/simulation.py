"""The simulated beamline of a folder: started, found again and stopped by its state file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .processing.child import is_alive, stop_process

_STATE = "sim.json"


@dataclass(frozen=True)
class Simulation:
    """A running simulated beamline.

    Parameters
    ----------
    pid : int
        Process id of the IOCs.
    environment : dict
        EPICS variables that a client needs before it imports ophyd.
    """

    pid: int
    environment: dict[str, str]

    @classmethod
    def start(cls, state: Path) -> Simulation:
        """Start the IOCs so that they outlive this process.

        Parameters
        ----------
        state : Path
            Folder for camera memory, log and state file.
        """
        from xfusion_simulators.configuration import BeamlineConfig
        from xfusion_simulators.launch import SimulatedBeamline

        state.mkdir(parents=True, exist_ok=True)
        config = BeamlineConfig.realistic(memory_folder=state / "camera-memory")
        beamline = SimulatedBeamline.start(config, log=state / "sim.log", detached=True)
        simulation = cls(beamline.pid, dict(beamline.environment))
        text = json.dumps({"pid": simulation.pid, "environment": simulation.environment})
        (state / _STATE).write_text(text)
        return simulation

    @classmethod
    def running(cls, state: Path) -> Simulation | None:
        """Return the simulation that runs in a folder, None when there is none."""
        try:
            found = json.loads((state / _STATE).read_text())
            simulation = cls(int(found["pid"]), dict(found["environment"]))
        except (FileNotFoundError, KeyError, ValueError):
            return None
        return simulation if is_alive(simulation.pid) else None

    def stop(self) -> None:
        """End the IOCs; camera memory stays."""
        stop_process(self.pid, 5.0)
