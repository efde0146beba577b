"""Backend plugins: which can be used, which were set aside, whether the wanted ones are there."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from ..configuration import Configuration, Reconstruction
from ..processing.discovery import Discovery, discover
from .finding import Finding, fail, ok


def look(configuration: Configuration, ended: threading.Event) -> Iterator[Finding]:
    """Load the plugins in a child process and look at what they offer.

    Parameters
    ----------
    configuration : Configuration
        Which plugins may be loaded, and which backends are wanted.
    ended : threading.Event
        Ends the search.
    """
    found = discover(configuration.plugins, ended)
    yield backends(found, configuration.reconstruction)
    for plugin in found.quarantined:
        name = plugin.source
        yield fail(
            name.plugin,
            f"set aside: {plugin.reason} ({name.distribution or 'no distribution'} "
            f"{plugin.version})",
            plugin.fix,
        )
    for plugin in found.blocked:
        yield ok(plugin.source.plugin, f"kept out by the configuration: {plugin.reason}")


def backends(found: Discovery, wanted: Reconstruction) -> Finding:
    """Look whether there are backends, and those that the configuration names.

    Parameters
    ----------
    found : Discovery
        What the plugins offer.
    wanted : Reconstruction
        Section of the configuration.
    """
    available = found.available()
    for name in wanted.backends:
        if name not in found.backends:
            return fail(
                "backends",
                f"'{name}' in [reconstruction] is in no installed plugin; there are: "
                f"{', '.join(sorted(found.backends)) or 'none'}",
                f"install the plugin that has it, or take '{name}' out of [reconstruction]",
            )
        why = found.backends[name].unavailable
        if why is not None and name not in wanted.parameters:
            return fail(
                "backends",
                f"'{name}' in [reconstruction] is unavailable: {why}",
                f"give it what it needs in [reconstruction.parameters.{name}]",
            )
    if not available:
        return fail(
            "backends",
            "no backend can be used: bursts are recorded, but not fused",
            "install a plugin, e.g. xfusion-motion; docs/reference/backends.md lists ours",
        )
    others = sorted(set(found.backends) - set(available))
    more = f"; to be given weights first: {', '.join(others)}" if others else ""
    return ok("backends", f"available: {', '.join(available)}{more}")
