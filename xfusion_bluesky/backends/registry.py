"""Which backends are installed. A plugin that is broken is set aside, alone and loudly."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pluggy

from xfusion_bluesky.backends import hookspecs
from xfusion_bluesky.backends.contract import Backend, BackendFactory, BackendInfo

__all__ = ["QuarantinedPlugin", "RegisteredBackend", "Registry", "UnknownBackendError"]

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class UnknownBackendError(LookupError):
    """No plugin offers a backend of this id."""

    def __str__(self) -> str:  # LookupError's children would otherwise quote their message
        return str(self.args[0])


@dataclass(frozen=True)
class RegisteredBackend:
    """A backend and where it comes from.

    Parameters
    ----------
    factory : BackendFactory
        Description and maker.
    plugin : str
        Name of the entry point.
    distribution, version : str
        Installed distribution and its version; empty when the plugin was given as an object.
    """

    factory: BackendFactory
    plugin: str
    distribution: str
    version: str


@dataclass(frozen=True)
class QuarantinedPlugin:
    """A plugin that is installed and not used.

    Parameters
    ----------
    plugin, distribution, version : str
        As in `RegisteredBackend`.
    reason : str
        What went wrong.
    fix : str
        What to do about it.
    """

    plugin: str
    distribution: str
    version: str
    reason: str
    fix: str


@dataclass
class Registry:
    """The backends of all plugins that work.

    Parameters
    ----------
    factories : dict
        Registered backends by id.
    quarantined : list
        Plugins that failed to load or broke the contract. Show them: silence would leave people
        wondering where their backend is.
    blocked : list
        Plugins that the configuration keeps out; they were never imported.
    """

    factories: dict[str, RegisteredBackend] = field(default_factory=dict)
    quarantined: list[QuarantinedPlugin] = field(default_factory=list)
    blocked: list[QuarantinedPlugin] = field(default_factory=list)

    @classmethod
    def discover(
        cls, allow: Collection[str] | None = None, block: Collection[str] = ()
    ) -> Registry:
        """Load every installed plugin, one entry point at a time.

        Parameters
        ----------
        allow : collection of str, optional
            Distribution or plugin names; others are not imported. Default: all.
        block : collection of str
            Distribution or plugin names that are not imported; wins over `allow`.
        """
        return cls.from_entry_points(metadata.entry_points(group=hookspecs.PROJECT), allow, block)

    @classmethod
    def from_entry_points(
        cls,
        entry_points: Iterable[metadata.EntryPoint],
        allow: Collection[str] | None = None,
        block: Collection[str] = (),
    ) -> Registry:
        """Load these entry points; parameters as for `discover`."""
        registry = cls()
        for entry_point in sorted(entry_points, key=lambda e: (*distribution_of(e), e.name)):
            registry._load(entry_point, allow, block)
        return registry

    @classmethod
    def from_plugins(cls, plugins: Mapping[str, object]) -> Registry:
        """Use plugin objects (name: module or object with the hook), installed or not."""
        registry = cls()
        for name, plugin in plugins.items():
            registry._add(plugin, name, "", "")
        return registry

    def available(self) -> list[str]:
        """Ids of the backends that run as they are, sorted."""
        return sorted(
            name
            for name, registered in self.factories.items()
            if registered.factory.info.unavailable is None
        )

    def create(self, id: str, parameters: Mapping[str, Any] | None = None) -> Backend:
        """Make a backend.

        Parameters
        ----------
        id : str
            One of `factories`; an unavailable one works when `parameters` hold what it needs.
        parameters : mapping, optional
            Its parameters; default: none.

        Raises
        ------
        UnknownBackendError
            If no plugin offers it; the message names near misses and plugins set aside.
        ValueError
            If a parameter is unknown or missing.
        """
        if id not in self.factories:
            raise UnknownBackendError(self._why_unknown(id))
        create = self.factories[id].factory.create
        given = dict(parameters or {})
        signature = inspect.signature(create)
        try:
            signature.bind(**given)
        except TypeError as error:
            accepted = ", ".join(signature.parameters) or "none"
            raise ValueError(
                f"backend {id!r} cannot be made from parameters {sorted(given)}: {error}; "
                f"it accepts: {accepted}"
            ) from error
        return create(**given)

    def _why_unknown(self, id: str) -> str:
        near = difflib.get_close_matches(id, self.factories, n=1)
        known = ", ".join(sorted(self.factories)) or "none"
        parts = [f"no plugin offers a backend {id!r}; installed: {known}"]
        if near:
            parts.append(f"did you mean {near[0]!r}?")
        if self.quarantined:
            aside = ", ".join(f"{q.plugin} ({q.reason})" for q in self.quarantined)
            parts.append(f"plugins set aside: {aside}")
        if self.blocked:
            parts.append(f"plugins blocked: {', '.join(q.plugin for q in self.blocked)}")
        return "; ".join(parts)

    def _load(
        self,
        entry_point: metadata.EntryPoint,
        allow: Collection[str] | None,
        block: Collection[str],
    ) -> None:
        name, (distribution, version) = entry_point.name, distribution_of(entry_point)
        barred = _barred(name, distribution, allow, block)
        if barred is not None:
            reason, fix = barred
            self.blocked.append(QuarantinedPlugin(name, distribution, version, reason, fix))
            return
        try:
            plugin = entry_point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit in a plugin must not end us
            self._set_aside(
                name,
                distribution,
                version,
                f"importing {entry_point.value} failed: {_in_words(error)}",
                f"install what it misses, or update or uninstall {distribution or name}",
            )
            return
        self._add(plugin, name, distribution, version)

    def _add(self, plugin: object, name: str, distribution: str, version: str) -> None:
        asks_author = f"update {distribution or name}, or tell its author"
        try:
            stated = getattr(plugin, "XFUSION_API_VERSION", 1)
            if stated != hookspecs.API_VERSION:
                self._set_aside(
                    name,
                    distribution,
                    version,
                    f"it is written for plugin API {stated!r}, this is API {hookspecs.API_VERSION}",
                    f"install versions of xfusion-bluesky and {distribution or name} that match",
                )
                return
            factories = _backends_of(plugin, name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            self._set_aside(name, distribution, version, _in_words(error), asks_author)
            return
        for factory in factories:
            taken = self.factories.get(factory.info.id)
            if taken is not None:
                self._set_aside(
                    name,
                    distribution,
                    version,
                    f"its backend {factory.info.id!r} exists already in plugin {taken.plugin!r}",
                    f"block one of {name!r} and {taken.plugin!r} in the configuration",
                )
                return
        for factory in factories:
            self.factories[factory.info.id] = RegisteredBackend(
                factory, name, distribution, version
            )

    def _set_aside(
        self, plugin: str, distribution: str, version: str, reason: str, fix: str
    ) -> None:
        self.quarantined.append(QuarantinedPlugin(plugin, distribution, version, reason, fix))


def _backends_of(plugin: object, name: str) -> list[BackendFactory]:
    # A manager for each plugin: what one registers cannot break the hooks of another.
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name)
    manager.check_pending()
    factories = [factory for found in manager.hook.xfusion_backends() for factory in found]
    if not factories:
        raise ValueError("it offers no backend: its hook xfusion_backends() returns none")
    ids = set()
    for factory in factories:
        if not isinstance(factory, BackendFactory) or not isinstance(factory.info, BackendInfo):
            raise TypeError(
                f"xfusion_backends() must return BackendFactory objects, got {factory!r}"
            )
        if not _ID.fullmatch(factory.info.id):
            raise ValueError(
                f"backend id {factory.info.id!r} is not lower case letters, digits and hyphens"
            )
        if factory.info.id in ids:
            raise ValueError(f"it offers two backends of id {factory.info.id!r}")
        ids.add(factory.info.id)
    return factories


def _barred(
    name: str, distribution: str, allow: Collection[str] | None, block: Collection[str]
) -> tuple[str, str] | None:
    names = {_canonical(name), _canonical(distribution)}
    if names & {_canonical(entry) for entry in block}:
        return "it is on the block list", "take it off the block list in the configuration"
    if allow is not None and not names & {_canonical(entry) for entry in allow}:
        return "it is not on the allow list", "add it to the allow list in the configuration"
    return None


def distribution_of(entry_point: metadata.EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution of an entry point, empty where not known."""
    if entry_point.dist is None:
        return "", ""
    try:
        return entry_point.dist.name or "", entry_point.dist.version or ""
    except Exception:  # noqa: BLE001 - of half-removed ones, importlib_metadata raises its own error
        return "", ""


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _in_words(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an error of a plugin may fail even at saying what it is
        text = "it cannot say more"
    return f"{type(error).__name__}: {text}"
