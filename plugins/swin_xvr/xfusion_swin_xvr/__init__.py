"""Backend that runs trained SWIN-XVR networks: `swin-xvr`."""

from __future__ import annotations

from xfusion_bluesky.backends.contract import BackendFactory
from xfusion_bluesky.backends.hookspecs import hookimpl
from xfusion_swin_xvr.backend import SwinXVRBackend
from xfusion_swin_xvr.version import __version__

__all__ = ["SwinXVRBackend", "__version__", "xfusion_backends"]


@hookimpl
def xfusion_backends() -> list[BackendFactory]:
    """Offer `swin-xvr`."""
    return [BackendFactory(SwinXVRBackend.base, SwinXVRBackend)]
