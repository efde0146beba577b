"""Backend bicubic keeps the contract of backends."""

from xfusion_bluesky.backends.conformance import Conformance


class TestBicubic(Conformance):
    backend_id = "bicubic"
