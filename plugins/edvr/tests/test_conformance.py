"""Backends of xfusion-edvr keep the contract of backends."""

import pytest
from reference_networks import save
from xfusion_edvr.network import EDVR, EDVRSize

from xfusion_bluesky.backends.conformance import Conformance
from xfusion_bluesky.nn.encoder import AlignmentSize

SMALL = {"features": 8, "alignment": AlignmentSize(2, 1), "reconstruct_blocks": 1}


@pytest.fixture(autouse=True, scope="module")
def _weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for of, options in ((TestEDVR, {"hr_frames": 0}), (TestEDVRSTF, {})):
        path = folder / f"{of.__name__}.pth"
        of.parameters = {"weights": str(save(EDVR(EDVRSize(**SMALL, **options)), path))}


class TestEDVR(Conformance):
    backend_id = "edvr"


class TestEDVRSTF(Conformance):
    backend_id = "edvr-stf"
