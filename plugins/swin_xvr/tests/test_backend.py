"""Backend swin-xvr: every published form from its checkpoint alone, sequences, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_networks import filled, save
from xfusion_swin_xvr import SwinXVRBackend
from xfusion_swin_xvr.network import SwinXVR, SwinXVRSize
from xfusion_swin_xvr.sizes import size_of

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.nn.checkpoints import Checkpoint
from xfusion_bluesky.nn.encoder import AlignmentSize

LISTINGS = sorted((Path(__file__).parent / "keys").glob("*.json"))
ALIGNMENT = AlignmentSize(2, 1)
FORMS = {
    "plain": SwinXVRSize(1, 8, 8, (5, 4, 4), (2, 1), (2, 2), 16),
    "aligned": SwinXVRSize(1, 8, 8, (5, 4, 4), (2,), (2,), 16, alignment=ALIGNMENT),
    "projected": SwinXVRSize(
        1, 12, 8, (5, 2, 2), (2,), (4,), 8, alignment=ALIGNMENT, projects=True
    ),
    "multi": SwinXVRSize(
        1, 12, 8, (5, 2, 2), (2,), (2,), 8, alignment=ALIGNMENT, projects=True, multi_output=True
    ),
    "of five": SwinXVRSize(1, 8, 8, (7, 2, 2), (2,), (2,), 16, lr_frames=5),
}


def movie(n=5, lr_shape=(12, 20)):
    scene = np.random.default_rng(2).random((n, 4 * lr_shape[0], 4 * lr_shape[1]), np.float32)
    return DualSequence.from_arrays(block_mean(scene), scene[::4], range(n), np.arange(0, n, 4))


def stack(arrays):
    return torch.from_numpy(np.stack(arrays))[None, :, None]


@pytest.mark.parametrize("form", FORMS)
def test_the_checkpoint_alone_tells_the_network_and_a_sequence_gives_what_windows_give(
    form, tmp_path
):
    size = FORMS[form]
    network = filled(SwinXVR(size))
    path = save(network, tmp_path / "w.pth", "params_ema", prefix="module.")
    sequence, backend = movie(), SwinXVRBackend(str(path), intensities="unit")
    half = size.lr_frames // 2

    made = [timed.frame for timed in checked_frames(backend, sequence, range(4))]

    assert backend.info.lr_context == half
    for frame in made:
        at = [min(max(frame.target + k, 0), 4) for k in range(-half, half + 1)]
        lr, hr = stack([sequence.lr(i) for i in at]), stack([sequence.hr(0), sequence.hr(1)])
        with torch.inference_mode():
            expected = network(lr, hr).image[0, 0].numpy()
        assert np.abs(frame.image - expected).max() < 1e-5 * max(expected.std(), 1)


@pytest.mark.parametrize("listing", LISTINGS, ids=[listing.stem for listing in LISTINGS])
def test_every_published_form_is_known_by_its_layers(listing):
    published = json.loads(listing.read_text())
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in published["keys"].items()}
        network = SwinXVR(size_of(Checkpoint(listing, "", "params_ema", tensors)))

    layers = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert layers == published["keys"]


def test_averaged_weights_are_preferred_as_the_original_does(tmp_path):
    network = SwinXVR(FORMS["plain"])
    averaged = filled(network).state_dict()
    last = {name: tensor * 0 for name, tensor in averaged.items()}
    torch.save({"params": last, "params_ema": averaged}, tmp_path / "w.pth")

    backend = SwinXVRBackend(str(tmp_path / "w.pth"))

    frame = next(checked_frames(backend, movie(), [1])).frame
    assert frame.image.std() > 0


def test_tiles_begin_where_windows_do(tmp_path):
    path = str(save(SwinXVR(FORMS["plain"]), tmp_path / "w.pth"))
    sequence = movie(2, (12, 102))
    whole, tiled = (
        next(checked_frames(SwinXVRBackend(path, tile_px=tile_px), sequence, [1])).frame
        for tile_px in (0, 64)
    )

    assert tiled.diagnostics == {"tiles": 3}
    assert np.abs(tiled.image - whole.image).max() < 1e-3 * whole.image.std()


def test_without_weights_it_is_listed_and_not_chosen():
    registry = Registry.discover()

    assert "swin-xvr" not in registry.available()
    assert registry.factories["swin-xvr"].factory.info.unavailable == "needs --weights"


def test_checkpoints_of_other_networks_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    for names, message in (
        (["conv_first.weight", "layers.0.x"], "not known here, with the layers conv_first.weight"),
        (["flow_model.fnet.conv1.weight"], "optical flow"),
        (["conv_first.weight", "pcd_align.cas_dcnpack.weight"], "backend 'edvr' runs"),
    ):
        torch.save({"params": dict.fromkeys(names, torch.zeros(2, 2))}, path)
        with pytest.raises(ValueError, match=message):
            SwinXVRBackend(str(path))
    tensors = dict(SwinXVR(FORMS["plain"]).state_dict())
    window = "layers.0.residual_group.blocks.0.attn.relative_position_index"
    for damage, message in (
        ({window: torch.zeros(81, 81)}, "windows are not understood"),
        ({"conv_first.weight": torch.zeros(8, 3, 3, 3)}, "3 channels"),
        ({"upsample.0.bias": torch.zeros(7)}, r"upsample.0.bias \[7\] instead of \[256\]"),
    ):
        torch.save({"params": {**tensors, **damage}}, path)
        with pytest.raises(ValueError, match=message):
            SwinXVRBackend(str(path))
