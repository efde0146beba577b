"""The command that reconstructs stored runs anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..configuration import ConfigurationError
from .catalogue import opened_catalog
from .installation import (
    DEFAULT_CONFIG,
    ConfigOption,
    WeightsOption,
    console,
    load_configuration,
    parameters_of,
    weights_of,
)
from .tables import reasons, score_table

if TYPE_CHECKING:
    from ..catalog import Catalog
    from ..configuration import Configuration
    from ..documents.frame_times import Traversal
    from ..processing.requests import ReconstructionRequest
    from ..processing.service import ServiceProcess

_ANSWER_S = 300.0
_IN_TILED_S = 60.0
_TRAVERSALS = ("continuous", "double")


def reprocess(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Raw runs: uid, its beginning, or scan id."),
    ] = None,
    backend: Annotated[str, typer.Option(help="Id of the backend.")] = ...,  # type: ignore[assignment]
    config: ConfigOption = DEFAULT_CONFIG,
    burst: Annotated[
        list[int] | None, typer.Option("--burst", min=1, help="Only this burst; repeatable.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(metavar="UID", help="Calibration to use instead of the run's own.")
    ] = None,
    traverse: Annotated[
        str | None,
        typer.Option(help="continuous, or double: HR frames held out; default: as configured."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Parameter; VALUE is JSON, or text."),
    ] = None,
    weights: WeightsOption = None,
    all_runs: Annotated[bool, typer.Option("--all", help="Every dual-burst run in Tiled.")] = False,
    wait: Annotated[
        bool, typer.Option(help="Wait until the results are in Tiled, and show them.")
    ] = True,
) -> None:
    """Reconstruct stored runs with a backend; what was made before is not made again."""
    if traverse is not None and traverse not in _TRAVERSALS:
        raise ConfigurationError(
            f"--traverse {traverse} is none of {', '.join(_TRAVERSALS)}. Nothing was done."
        )
    configuration = load_configuration(config)
    given = {**weights_of(weights), **parameters_of(settings or [])}
    parameters = _parameters(configuration, backend, given)
    with opened_catalog(configuration) as catalog:
        chosen = _chosen(catalog, runs or [], all_runs)
        requests = _requests(catalog, chosen, backend, parameters, burst, calibration, traverse)
        with _service(configuration, config, wait) as service:
            uids, errors = _submit(configuration, requests)
            if wait and uids:
                uids = _wait(configuration, catalog, uids, service)
        successful = _show(catalog, uids) if wait else _name(uids)
    if errors:
        raise LookupError(" | ".join(errors))
    if not successful:
        raise typer.Exit(1)


def _parameters(
    configuration: Configuration, backend: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    from ..processing.trial import why_unusable

    configured = configuration.reconstruction.parameters.get(backend, {})
    parameters = {**configured, **given}
    if why := why_unusable(configuration.plugins, backend, parameters):
        raise ConfigurationError(f"{why}. Nothing was done.")
    return parameters


def _chosen(catalog: Catalog, identifiers: Sequence[str], all_runs: bool) -> list[str]:
    from tiled.queries import Key

    if bool(identifiers) == all_runs:
        raise LookupError("Name the runs to reprocess, or say --all; nothing was done.")
    if all_runs:
        runs = catalog.raw.search(Key("start.purpose") == "dual-burst")
        return [run.metadata["start"]["uid"] for run in runs.values()]
    uids = []
    for identifier in identifiers:
        start = catalog.run(identifier).metadata["start"]
        if start.get("purpose") != "dual-burst":
            kind = start.get("purpose") or start.get("analysis_stage") or start.get("plan_name")
            raise LookupError(
                f"Run {identifier} is of kind {kind!r}; only raw runs with dual bursts can be "
                "reprocessed, and 'xfusion-bluesky runs' lists them. Nothing was done."
            )
        uids.append(start["uid"])
    return list(dict.fromkeys(uids))


def _requests(
    catalog: Catalog,
    raw_uids: Sequence[str],
    backend: str,
    parameters: dict[str, Any],
    bursts: Sequence[int] | None,
    calibration: str | None,
    traverse: str | None,
) -> list[ReconstructionRequest]:
    from ..processing.requests import ReconstructionRequest

    calibration_uid = None
    if calibration is not None:
        calibration_uid = catalog.calibration(calibration).metadata["start"]["uid"]
    return [
        ReconstructionRequest(
            raw_uid=raw_uid,
            seq_nums=tuple(bursts) if bursts else None,
            backends={backend: parameters},
            calibration_uid=calibration_uid,
            traversal=cast("Traversal | None", traverse),
            # Who asks by name wants another attempt at what failed.
            retry=True,
        )
        for raw_uid in raw_uids
    ]


@contextmanager
def _service(configuration: Configuration, config: Path, wait: bool) -> Iterator[ServiceProcess]:
    from ..processing.child import ProcessStartError
    from ..processing.service import ServiceProcess

    running = ServiceProcess.running(configuration.folders.state)
    if running is not None:
        yield running
        return
    if not wait:
        raise ConnectionError(
            "The processing service does not run, and without --wait nothing would keep it "
            "running; 'xfusion-bluesky sim start' starts it. Nothing was done."
        )
    try:
        service = ServiceProcess.start(config)
    except ProcessStartError as error:
        log = configuration.folders.state / "logs" / "service.log"
        raise ConnectionError(
            f"The processing service could not be started: {str(error).splitlines()[0]} Its log "
            f"{log} says why; 'xfusion-bluesky sim start' starts what it needs. Nothing was done."
        ) from error
    with service:
        yield service


def _submit(
    configuration: Configuration, requests: Sequence[ReconstructionRequest]
) -> tuple[list[str], list[str]]:
    from ..processing.requests import RequestQueue

    queue = RequestQueue(configuration.folders.state)
    uids: list[str] = []
    errors: list[str] = []
    with console.status("The processing service is asked ..."):
        for request_id in [queue.submit(request) for request in requests]:
            try:
                answer = queue.wait(request_id, _ANSWER_S)
            except TimeoutError as error:
                raise ConnectionError(str(error)) from error
            uids += answer.uids
            errors += [answer.error] if answer.error else []
    return uids, errors


def _wait(
    configuration: Configuration, catalog: Catalog, uids: Sequence[str], service: ServiceProcess
) -> list[str]:
    """Wait for runs, then for the fallbacks of those that failed; return all of them."""
    from ..processing.child import is_alive
    from ..processing.reprocess import wait_for_runs

    with console.status("") as status:
        try:
            wait_for_runs(
                configuration.folders.state,
                uids,
                _IN_TILED_S,
                alive=lambda: is_alive(service.pid),
                tell=lambda waiting: status.update(f"{len(waiting)} of {len(uids)} to do ..."),
            )
        except TimeoutError as error:
            raise ConnectionError(str(error)) from error
    stops = [catalog.run(uid).metadata.get("stop") or {} for uid in uids]
    fallbacks = [stop["fallback_uid"] for stop in stops if stop.get("fallback_uid")]
    new = [uid for uid in dict.fromkeys(fallbacks) if uid not in uids]
    return [*uids, *(_wait(configuration, catalog, new, service) if new else [])]


def _name(uids: Sequence[str]) -> bool:
    for uid in uids:
        console.print(uid)
    return True


def _show(catalog: Catalog, uids: Sequence[str]) -> bool:
    from ..viewer.scores import read_reconstruction

    scores = [read_reconstruction(catalog.run(uid)).score for uid in uids]
    if scores:
        console.print(score_table(scores))
    for line in reasons(scores):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    return all(score.status == "success" for score in scores)
