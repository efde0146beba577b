"""The one hook of xfusion-bluesky. Hooks register; they never run a model."""

from __future__ import annotations

import pluggy

from xfusion_bluesky.backends.contract import BackendFactory

__all__ = ["API_VERSION", "PROJECT", "hookimpl", "hookspec", "xfusion_backends"]

PROJECT = "xfusion_bluesky"
"""Name of the pluggy project and of the entry-point group."""

API_VERSION = 1
"""Version of the plugin contract; a plugin may state the one it was written for as
``XFUSION_API_VERSION`` (default 1)."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def xfusion_backends() -> list[BackendFactory]:  # type: ignore[empty-body]
    """Return the backends this plugin offers; called once, when plugins are discovered."""
