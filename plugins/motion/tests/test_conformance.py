"""Backends of xfusion-motion keep the contract of backends."""

from xfusion_bluesky.backends.conformance import Conformance


class TestHold(Conformance):
    backend_id = "hold"


class TestLinear(Conformance):
    backend_id = "linear"


class TestLinearBackProjection(Conformance):
    backend_id = "linear-bp"


class TestFlowBackProjection(Conformance):
    backend_id = "flow-bp"


class TestExperts(Conformance):
    backend_id = "experts"
