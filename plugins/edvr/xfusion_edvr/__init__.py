"""Backends that run trained EDVR networks: `edvr` and `edvr-stf`."""

from __future__ import annotations

from xfusion_bluesky.backends.contract import BackendFactory
from xfusion_bluesky.backends.hookspecs import hookimpl
from xfusion_edvr.backends import EDVRBackend, EDVRSTFBackend
from xfusion_edvr.version import __version__

__all__ = ["EDVRBackend", "EDVRSTFBackend", "__version__", "xfusion_backends"]


@hookimpl
def xfusion_backends() -> list[BackendFactory]:
    """Offer `edvr` and `edvr-stf`."""
    return [
        BackendFactory(EDVRBackend.base, EDVRBackend),
        BackendFactory(EDVRSTFBackend.base, EDVRSTFBackend),
    ]
