"""The process that examines one backend: findings go to a file descriptor, one JSON line each."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from xfusion_bluesky.backends import scenes
from xfusion_bluesky.backends.card import Begun, Completed, Finding, Identity, Refused, Verdict
from xfusion_bluesky.backends.checks import CHECKS, Candidate, NotConforming
from xfusion_bluesky.backends.contract import Backend, BackendInfo
from xfusion_bluesky.backends.measure import accuracy_of, cost_of
from xfusion_bluesky.backends.registry import RegisteredBackend, Registry, UnknownBackendError
from xfusion_bluesky.backends.runner import ContractViolation

__all__ = ["examine_backend", "main"]

Tell = Callable[[Finding], None]
_PACKAGE = Path(__file__).parents[1]
_MOST_CHARACTERS = 300


def main() -> None:
    """Examine the backend that the first argument, a JSON object, asks for."""
    request = json.loads(sys.argv[1])
    # Code that hangs may hold the interpreter's lock; this watch needs none, says where it hangs,
    # and ends this process even when the one that started it has gone.
    faulthandler.enable()
    faulthandler.dump_traceback_later(request["limit_s"], exit=True)
    fd: int = request["fd"]

    def tell(finding: Finding) -> None:
        os.write(fd, finding.model_dump_json().encode() + b"\n")

    tell(Begun(what="loading the installed plugins"))
    registry = Registry.discover(request["allow"], request["block"])
    examine_backend(registry, request["backend_id"], request["parameters"], tell)
    tell(Completed())
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and exit handlers that a plugin left behind have no say any more.
    os._exit(0)


def examine_backend(
    registry: Registry, backend_id: str, parameters: Mapping[str, Any], tell: Tell
) -> None:
    """Run every check and measurement on a backend.

    Parameters
    ----------
    registry : Registry
        Has the backend.
    backend_id : str
        Which one.
    parameters : mapping
        Its parameters.
    tell : callable
        Gets each finding as soon as it is known.
    """
    registered = registry.factories.get(backend_id)
    if registered is None:
        try:
            registry.create(backend_id)
        except UnknownBackendError as error:
            tell(Refused(what="backend", why=str(error)))
        return
    tell(_identity(registered, registered.factory.info))
    tell(Begun(what=f"making {backend_id!r}"))
    made: list[Backend] = []
    failure = _failure_of(lambda: made.append(registry.create(backend_id, parameters)))
    if failure and parameters:
        given = json.dumps(dict(parameters))
        tell(Refused(what="parameters", why=f"{backend_id!r} rejects {given}: {failure}"))
    elif failure and registered.factory.info.unavailable is None:
        tell(Verdict(check="is made", outcome="failed", why=failure))
    for backend in made:
        tell(_identity(registered, backend.info))
        if backend.info.unavailable is None:
            _check(Candidate(lambda: registry.create(backend_id, parameters)), backend.info, tell)
            _measure(backend, tell)


def _check(candidate: Candidate, info: BackendInfo, tell: Tell) -> None:
    for check in CHECKS:
        if check.of_accuracy and not info.claims_accuracy:
            why = "it does not claim accuracy"
            tell(Verdict(check=check.name, outcome="left out", why=why))
            continue
        tell(Begun(what=f"check {check.name!r}"))
        failure = _failure_of(partial(check.run, candidate))
        outcome = "failed" if failure else "passed"
        tell(Verdict(check=check.name, outcome=outcome, why=failure))


def _measure(backend: Backend, tell: Tell) -> None:
    tell(Begun(what="the measurement"))
    scene = scenes.moving_blobs()

    def measure() -> None:
        cost, images = cost_of(backend, scene)
        tell(cost)
        tell(accuracy_of(images, scene))

    failure = _failure_of(measure)
    outcome = "failed" if failure else "passed"
    tell(Verdict(check="fuses the measured scene", outcome=outcome, why=failure))


def _identity(registered: RegisteredBackend, info: BackendInfo) -> Identity:
    weights = info.weights
    return Identity(
        id=registered.factory.info.id,
        version=str(info.version),
        summary=str(info.summary),
        plugin=registered.plugin,
        distribution=registered.distribution,
        distribution_version=registered.version,
        needs_hr=bool(info.needs_hr),
        claims_accuracy=bool(info.claims_accuracy),
        weights=weights and f"{weights.name} ({weights.licence}), sha256 {weights.sha256[:12]}",
        unavailable=info.unavailable,
    )


def _failure_of(action: Callable[[], object]) -> str:
    """Do it; why it failed in one line, empty when it did not."""
    try:
        action()
    except KeyboardInterrupt:
        raise
    except NotConforming as error:
        return _one_line(str(error))
    except ContractViolation as error:
        where = "" if error.target is None else f"at LR frame {error.target} "
        return _one_line(f"{where}expected {error.expected}, got {error.got}")
    except BaseException as error:  # noqa: BLE001 - sys.exit in a backend is a finding, too
        return _one_line(f"{type(error).__name__}: {error}{_place_of(error)}")
    return ""


def _place_of(error: BaseException) -> str:
    """Where the backend raised: the last line outside of this package."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not Path(frame.filename).is_relative_to(_PACKAGE):
            return f" ({frame.filename}:{frame.lineno})"
    return ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}..."


if __name__ == "__main__":
    main()
