"""Which backends are installed, found out by a child process: imports run strangers' code."""

from __future__ import annotations

import difflib
import logging
import os
import select
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

from pydantic import BaseModel, ConfigDict

from xfusion_bluesky.backends import hookspecs
from xfusion_bluesky.backends.registry import UnknownBackendError, distribution_of
from xfusion_bluesky.configuration import Plugins
from xfusion_bluesky.processing.contained import ContainedProcess, how_ended

__all__ = ["Discovery", "FoundBackend", "PluginAside", "PluginName", "discover", "entry_points"]

_LOG = logging.getLogger(__name__)
_AT_A_TIME = 4
_POLL_MS = 100
_END_S = 1.0
_READ_BYTES = 1 << 16


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PluginName(_Answer):
    """An entry point: its name, and the distribution that has it."""

    plugin: str
    distribution: str


class FoundBackend(_Answer):
    """A backend that a plugin offers.

    `id`, `version`, `summary`, `needs_hr` and `unavailable` are those of its `BackendInfo`,
    `weights` the SHA-256 of its weights.
    """

    id: str
    version: str
    summary: str
    needs_hr: bool
    unavailable: str | None
    weights: str | None
    source: PluginName
    distribution_version: str

    @property
    def takes_weights(self) -> bool:
        """Whether it cannot run as it is: its parameters have to be those of ``--weights FILE``."""
        return self.unavailable is not None and self.weights is None


class PluginAside(_Answer):
    """A plugin that is installed and not used, why, and what to do about it."""

    source: PluginName
    version: str
    reason: str
    fix: str


class Discovery(_Answer):
    """What was found: backends by id, plugins that do not work, plugins that are kept out."""

    backends: dict[str, FoundBackend]
    quarantined: tuple[PluginAside, ...]
    blocked: tuple[PluginAside, ...]

    @classmethod
    def nothing(cls) -> Discovery:
        """Return that nothing was found."""
        return cls(backends={}, quarantined=(), blocked=())

    def available(self) -> list[str]:
        """Ids of the backends that run as they are, sorted."""
        return sorted(each.id for each in self.backends.values() if each.unavailable is None)

    def find(self, backend_id: str) -> FoundBackend:
        """Return a backend.

        Raises
        ------
        UnknownBackendError
            No plugin offers it; the message names near misses and plugins set aside.
        """
        if backend_id in self.backends:
            return self.backends[backend_id]
        installed = ", ".join(sorted(self.backends)) or "none"
        parts = [f"no plugin offers a backend {backend_id!r}; installed: {installed}"]
        if near := difflib.get_close_matches(backend_id, self.backends, n=1):
            parts.append(f"did you mean {near[0]!r}?")
        if aside := [f"{each.source.plugin} ({each.reason})" for each in self.quarantined]:
            parts.append(f"plugins set aside: {', '.join(aside)}")
        if blocked := [each.source.plugin for each in self.blocked]:
            parts.append(f"plugins blocked: {', '.join(blocked)}")
        raise UnknownBackendError("; ".join(parts))


class _ProbeFailed(Exception):
    """A probe gave no answer; says why."""


def entry_points() -> list[tuple[PluginName, metadata.EntryPoint]]:
    """Return the installed plugins, without loading any."""
    found = metadata.entry_points(group=hookspecs.PROJECT)
    # A half-removed installation has no name.
    names = [distribution_of(e)[0] for e in found]
    return [
        (PluginName(plugin=e.name, distribution=name), e)
        for e, name in zip(found, names, strict=True)
    ]


def discover(
    plugins: Plugins,
    closing: threading.Event,
    *,
    together_s: float = 30.0,
    alone_s: float = 60.0,
) -> Discovery:
    """Load every plugin in a child process and return what they offer.

    When that process dies or does not end, each plugin is tried in one of its own, and those that
    do it again are set aside.

    Parameters
    ----------
    plugins : Plugins
        Which may be loaded.
    closing : threading.Event
        Ends the search.
    together_s, alone_s : float
        Longest time to load all plugins, and one.
    """
    try:
        return _probe(plugins, [], [], together_s, closing)
    except _ProbeFailed as error:
        if closing.is_set():
            return Discovery.nothing()
        _LOG.error("The process that loaded the plugins %s; trying them one by one", error)
    names = [name for name, _ in entry_points()]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        reasons = list(pool.map(lambda name: _trouble(plugins, name, alone_s, closing), names))
    culprits = [
        PluginAside(
            source=name,
            version="",
            reason=f"the process that loaded it {reason}",
            fix=f"update or uninstall {name.distribution or name.plugin}",
        )
        for name, reason in zip(names, reasons, strict=True)
        if reason
    ]
    try:
        rest = _probe(plugins, [], [each.source for each in culprits], alone_s, closing)
    except _ProbeFailed as error:
        _LOG.error("No plugin can be used: %s", error)
        rest = Discovery.nothing()
    return rest.model_copy(update={"quarantined": (*rest.quarantined, *culprits)})


def _trouble(plugins: Plugins, name: PluginName, limit_s: float, closing: threading.Event) -> str:
    try:
        _probe(plugins, [name], [], limit_s, closing)
    except _ProbeFailed as error:
        return str(error)
    return ""


def _probe(
    plugins: Plugins,
    only: list[PluginName],
    without: list[PluginName],
    limit_s: float,
    closing: threading.Event,
) -> Discovery:
    answers, answers_in = os.pipe()
    command = [sys.executable, "-m", "xfusion_bluesky.processing.probe", "--fd", str(answers_in)]
    command += ["--limit", str(limit_s), "--plugins", plugins.model_dump_json()]
    for option, names in (("--only", only), ("--without", without)):
        for name in names:
            command += [option, name.model_dump_json()]
    environment = {k: v for k, v in os.environ.items() if k != "TILED_API_KEY"}
    try:
        with open(os.devnull, "wb") as nowhere:
            process = ContainedProcess(
                command, pass_fds=(answers_in,), output=nowhere.fileno(), environment=environment
            )
    finally:
        os.close(answers_in)
    try:
        answer = _read_all(answers, process, time.monotonic() + limit_s, closing)
        if answer is None:
            raise _ProbeFailed(f"did not end within {limit_s:g} s")
        if answer:
            return _parsed(answer)
        ended = process.ends_within(_END_S)
        raise _ProbeFailed("gave no answer" if ended is None else how_ended(ended))
    finally:
        process.stop()
        os.close(answers)


def _parsed(answer: bytes) -> Discovery:
    try:
        return Discovery.model_validate_json(answer)
    except ValueError as error:
        raise _ProbeFailed(f"said nonsense: {answer[:80]!r}") from error


def _read_all(
    pipe: int, process: ContainedProcess, deadline: float, closing: threading.Event
) -> bytes | None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    data = b""
    while time.monotonic() < deadline and not closing.is_set():
        # Asked first: what it wrote before it ended is in the pipe by then.
        ended = process.ended() is not None
        if poll.poll(0 if ended else _POLL_MS):
            new = os.read(pipe, _READ_BYTES)
            if not new:
                return data
            data += new
        elif ended:
            return data  # something that it started still holds the pipe
    return None
