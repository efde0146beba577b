"""Backends hold, linear and linear-bp keep the contract of backends."""

from xfusion_bluesky.backends.conformance import Conformance


class TestHold(Conformance):
    backend_id = "hold"


class TestLinear(Conformance):
    backend_id = "linear"


class TestLinearBackProjection(Conformance):
    backend_id = "linear-bp"
