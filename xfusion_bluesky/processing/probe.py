"""The process that loads plugins to see what they offer, for `discovery`; it may die of them."""

from __future__ import annotations

import argparse
import os
import signal

from xfusion_bluesky.backends.registry import QuarantinedPlugin, RegisteredBackend, Registry
from xfusion_bluesky.configuration import Plugins
from xfusion_bluesky.processing.discovery import (
    Discovery,
    FoundBackend,
    PluginAside,
    PluginName,
    entry_points,
)

_GRACE_S = 5.0


def main(arguments: list[str] | None = None) -> None:
    """Load plugins and write a `Discovery` as JSON.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name.
    """
    parser = argparse.ArgumentParser(description="Tell which backends the plugins offer.")
    parser.add_argument("--fd", type=int, required=True, help="file descriptor for the answer")
    parser.add_argument("--limit", type=float, required=True, help="longest time, s")
    parser.add_argument("--plugins", required=True, help="which may be loaded, JSON")
    parser.add_argument("--only", action="append", default=[], help="only this one, JSON")
    parser.add_argument("--without", action="append", default=[], help="not this one, JSON")
    options = parser.parse_args(arguments)
    os.set_inheritable(options.fd, False)
    # A plugin may hang where not even a signal handler runs, and who asked may have gone.
    signal.setitimer(signal.ITIMER_REAL, options.limit + _GRACE_S)
    plugins = Plugins.model_validate_json(options.plugins)
    only = [PluginName.model_validate_json(name) for name in options.only]
    without = [PluginName.model_validate_json(name) for name in options.without]
    found = [
        entry_point
        for name, entry_point in entry_points()
        if name not in without and (not only or name in only)
    ]
    registry = Registry.from_entry_points(found, plugins.allow, plugins.block)
    answer = _discovery(registry).model_dump_json().encode()
    with os.fdopen(options.fd, "wb") as out:
        out.write(answer)
    # Threads and exit handlers of the plugins are of no interest any more.
    os._exit(0)


def _discovery(registry: Registry) -> Discovery:
    backends: dict[str, FoundBackend] = {}
    quarantined = [_aside(each) for each in registry.quarantined]
    for backend_id, registered in registry.factories.items():
        try:
            backends[backend_id] = _found(registered)
        except Exception as error:  # noqa: BLE001 - a plugin may describe itself in any way
            reason = f"its backend {backend_id!r} describes itself wrongly: {error}"
            quarantined.append(
                PluginAside(
                    source=_source(registered),
                    version=registered.version,
                    reason=" ".join(reason.split()),
                    fix=f"update {registered.distribution}, or tell its author",
                )
            )
    return Discovery(
        backends=backends,
        quarantined=tuple(quarantined),
        blocked=tuple(_aside(each) for each in registry.blocked),
    )


def _found(registered: RegisteredBackend) -> FoundBackend:
    info = registered.factory.info
    return FoundBackend(
        id=info.id,
        version=info.version,
        summary=info.summary,
        needs_hr=info.needs_hr,
        unavailable=info.unavailable,
        weights=None if info.weights is None else info.weights.sha256,
        source=_source(registered),
        distribution_version=registered.version,
    )


def _source(of: RegisteredBackend | QuarantinedPlugin) -> PluginName:
    return PluginName(plugin=of.plugin, distribution=of.distribution)


def _aside(plugin: QuarantinedPlugin) -> PluginAside:
    return PluginAside(
        source=_source(plugin), version=plugin.version, reason=plugin.reason, fix=plugin.fix
    )


if __name__ == "__main__":
    main()
