"""The main job on a simulated beamline: two cameras, one plan, a fused movie in Tiled."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from .calibration.record import CalibrationRecord
from .catalog import Catalog, connect
from .configuration import FILE_NAME, Configuration, ConfigurationError, template
from .simulation import Simulation
from .viewer.report import save_report
from .viewer.scores import Score, best_last, read_reconstruction

BURSTS = 2
HR_LAST = 4
LIMIT_S = 120.0


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Parameters
    ----------
    raw_uid : str
        The dual-burst run.
    calibration_uid : str
        The calibration that it was fused with.
    calibration : CalibrationRecord
        Its record.
    scores : tuple of Score
        All reconstructions of it.
    first_fused_s : float
        From the first burst's documents (files closed) to a fused frame readable in Tiled, in s.
    picture, movie : Path
        Of the best reconstruction of the first burst.
    web_uri : str
        Address of Tiled's web page, key included.
    """

    raw_uid: str
    calibration_uid: str
    calibration: CalibrationRecord
    scores: tuple[Score, ...]
    first_fused_s: float
    picture: Path
    movie: Path
    web_uri: str


@contextmanager
def demonstration(folder: Path, *, keep: bool) -> Iterator[DemoResult]:
    """Run the whole line once; everything started is stopped at the end unless `keep`.

    Parameters
    ----------
    folder : Path
        Where data, catalogue, picture and movie go.
    keep : bool
        Leave the servers running; ``xfusion-bluesky sim stop`` ends them.

    Yields
    ------
    DemoResult
        While the servers still run.
    """
    from .processing.bursts import BurstFinder
    from .processing.ledger import wait_for_reconstructions
    from .processing.servers import start_servers

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE_NAME
    if not file.exists():
        file.write_text(template(), encoding="utf-8")
    configuration = Configuration.load(file)
    folders = configuration.folders
    with ExitStack() as running:
        simulation = Simulation.start(folders.state)
        if not keep:
            running.callback(simulation.stop)
        server, service = start_servers(file, detached=keep)
        if server is None:
            raise ConfigurationError(
                f"{file} names a Tiled server of somebody else; the demonstration runs its own. "
                "Choose another folder with --folder."
            )
        if not keep:
            running.callback(server.stop)
            running.callback(service.stop)
        os.environ.update(simulation.environment)

        from .beamline import connect_beamline
        from .plans import calibrate, dual_burst

        beamline = connect_beamline(configuration)
        catalog = Catalog(connect(uri=server.uri, api_key=server.api_key))
        running.callback(catalog.close)
        if beamline.mesh is None:
            raise ConfigurationError(
                f"{file} names no mesh stage ([devices] mesh), and the demonstration calibrates "
                "with one. Choose another folder with --folder."
            )
        calibration_uid = beamline.RE(
            calibrate(beamline.dual, beamline.shutter, beamline.sample, beamline.mesh)
        ).plan_result
        watch = _FirstFrame(server)
        token = beamline.RE.subscribe(watch.on_event, "event")
        token_start = beamline.RE.subscribe(watch.on_start, "start")
        raw_uid = beamline.RE(
            dual_burst(
                beamline.dual,
                beamline.shutter,
                bursts=BURSTS,
                hr_last=HR_LAST,
                calibration_uid=calibration_uid,
                md={"sample_name": "laser powder bed fusion wall"},
            )
        ).plan_result
        beamline.RE.unsubscribe(token)
        beamline.RE.unsubscribe(token_start)
        wait_for_reconstructions(folders.state, raw_uid, BURSTS, LIMIT_S)
        reconstructions = [read_reconstruction(run) for run in catalog.reconstructions_of(raw_uid)]
        scores = tuple(each.score for each in reconstructions)
        finder = BurstFinder(folders, lambda: nullcontext(catalog))
        picture, movie = save_report(finder, best_last(reconstructions), folder)
        yield DemoResult(
            raw_uid,
            calibration_uid,
            CalibrationRecord.load(CalibrationRecord.file(folders.raw, calibration_uid)),
            scores,
            watch.seconds(),
            picture,
            movie,
            server.web_uri,
        )


class _FirstFrame:
    """Measures when the first fused frame of a run can be read, beside the RunEngine."""

    def __init__(self, server: object) -> None:
        self._server = server
        self._uid = ""
        self._thread: threading.Thread | None = None
        self._seconds = float("nan")

    def on_start(self, _: str, document: dict[str, object]) -> None:
        self._uid = str(document["uid"])

    def on_event(self, _: str, document: dict[str, object]) -> None:
        if self._thread is None:
            closed = time.monotonic()
            self._thread = threading.Thread(target=self._poll, args=(closed,), daemon=True)
            self._thread.start()

    def _poll(self, closed: float) -> None:
        catalog = Catalog(connect(uri=self._server.uri, api_key=self._server.api_key))  # type: ignore[attr-defined]
        try:
            while time.monotonic() - closed < LIMIT_S:
                for run in catalog.reconstructions_of(self._uid):
                    if "fused" in run and "fused" in run["fused"]:
                        run["fused"]["fused"][0]
                        self._seconds = time.monotonic() - closed
                        return
                time.sleep(0.05)
        finally:
            catalog.close()

    def seconds(self) -> float:
        """Return the time from the files' documents to the first readable fused frame."""
        if self._thread is not None:
            self._thread.join(LIMIT_S)
        return self._seconds
