"""Backends that carry the detail of HR frames through time.

`hold`, `linear`, `linear-bp`, `flow-bp` and `experts`.
"""

from __future__ import annotations

from xfusion_bluesky.backends.contract import BackendFactory
from xfusion_bluesky.backends.hookspecs import hookimpl
from xfusion_motion.experts import Experts
from xfusion_motion.flow_bp import FlowBackProjection
from xfusion_motion.hold import Hold
from xfusion_motion.linear import Linear
from xfusion_motion.linear_bp import LinearBackProjection
from xfusion_motion.version import __version__

__all__ = [
    "Experts",
    "FlowBackProjection",
    "Hold",
    "Linear",
    "LinearBackProjection",
    "__version__",
    "xfusion_backends",
]


@hookimpl
def xfusion_backends() -> list[BackendFactory]:
    """Offer `hold`, `linear`, `linear-bp`, `flow-bp` and `experts`."""
    return [
        BackendFactory(Hold.info, Hold),
        BackendFactory(Linear.info, Linear),
        BackendFactory(LinearBackProjection.info, LinearBackProjection),
        BackendFactory(FlowBackProjection.info, FlowBackProjection),
        BackendFactory(Experts.info, Experts),
    ]
