"""Backend plugins: which can be used, which were set aside, whether the wanted ones are there."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..configuration import Configuration, Plugins, Reconstruction
from ..processing.discovery import Discovery, discover
from ..processing.trial import why_unusable
from .finding import Finding, fail, ok

_TRIAL_S = 15.0


def look(configuration: Configuration, ended: threading.Event) -> Iterator[Finding]:
    """Load the plugins in a child process and look at what they offer.

    Parameters
    ----------
    configuration : Configuration
        Which plugins may be loaded, and which backends are wanted.
    ended : threading.Event
        Ends the search.
    """
    found, wanted = discover(configuration.plugins, ended), configuration.reconstruction
    tried: dict[str, Finding] = {}
    for backend_id, given in wanted.parameters.items():
        if backend_id in found.backends and not ended.is_set():
            tried[backend_id] = parameters(configuration.plugins, backend_id, given)
    unusable = {each: finding for each, finding in tried.items() if finding.action}
    yield backends(found, wanted, tried.keys() - unusable.keys(), unusable)
    yield from unusable.values()
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


def parameters(plugins: Plugins, backend_id: str, given: Mapping[str, object]) -> Finding:
    """Look whether a backend can be made from its parameters, in a child process.

    Parameters
    ----------
    plugins : Plugins
        Which may be loaded.
    backend_id : str
        Which one.
    given : mapping
        Its section of the configuration.
    """
    section = f"[reconstruction.parameters.{backend_id}]"
    weights = given.get("weights")
    if isinstance(weights, str) and not _is_file(weights):
        return fail(
            backend_id,
            f"there is no file {weights}, which {section} names as weights",
            f"copy the checkpoint there, or correct weights in {section}: its whole path",
        )
    why = why_unusable(plugins, backend_id, given, limit_s=_TRIAL_S)
    if why:
        return fail(backend_id, why, f"correct {section}")
    return ok(backend_id, f"can be made from {section}")


def backends(
    found: Discovery, wanted: Reconstruction, usable: Collection[str], unusable: Collection[str]
) -> Finding:
    """Look whether there are backends, and those that the configuration names.

    Parameters
    ----------
    found : Discovery
        What the plugins offer.
    wanted : Reconstruction
        Section of the configuration.
    usable, unusable : collection of str
        Backends that can be made from the parameters in the configuration, and those that cannot,
        which is said elsewhere.
    """
    available = sorted({*found.available(), *usable}.difference(unusable))
    for name in wanted.backends:
        if name not in found.backends:
            return fail(
                "backends",
                f"'{name}' in [reconstruction] is in no installed plugin; there are: "
                f"{', '.join(sorted(found.backends)) or 'none'}",
                f"install the plugin that has it, or take '{name}' out of [reconstruction]",
            )
        if name not in (*available, *unusable):
            why = found.backends[name].unavailable
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
    others = sorted(set(found.backends).difference(available, unusable))
    more = f"; to be given weights first: {', '.join(others)}" if others else ""
    return ok("backends", f"available: {', '.join(available)}{more}")


def _is_file(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False
