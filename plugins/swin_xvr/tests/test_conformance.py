"""Backend swin-xvr keeps the contract of backends."""

import pytest
from reference_networks import save
from xfusion_swin_xvr.network import SwinXVR, SwinXVRSize

from xfusion_bluesky.backends.conformance import Conformance


class TestSwinXVR(Conformance):
    backend_id = "swin-xvr"

    @pytest.fixture(autouse=True)
    def _weights(self, weights):
        type(self).parameters = {"weights": weights}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net_g_latest.pth"
    size = SwinXVRSize(1, 8, 8, (5, 4, 4), (2,), (2,), 16)
    return str(save(SwinXVR(size), path, container="params_ema"))
