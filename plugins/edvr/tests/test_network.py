"""EDVR and EDVR-STF are the published networks: layers, shapes and numbers."""

import json
from pathlib import Path

import pytest
import torch
from published_networks import deformable, edvr
from reference_networks import filled, frames, largest_difference
from xfusion_edvr.network import EDVR, EDVRSize

from xfusion_bluesky.nn.deformable import modulated_deformable_conv
from xfusion_bluesky.nn.encoder import AlignmentSize

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text())
LISTINGS = sorted((HERE / "keys").glob("*.json"))


def size_of(config):
    return EDVRSize(
        channels=config["num_in_ch"],
        features=config["num_feat"],
        lr_frames=config["num_frame"],
        hr_frames=config.get("num_frame_hi", 0),
        alignment=AlignmentSize(config["deformable_groups"], config.get("num_extract_block", 5)),
        reconstruct_blocks=config["num_reconstruct_block"],
        attends=config["with_tsa"],
    )


@pytest.mark.parametrize("listing", LISTINGS, ids=[listing.stem for listing in LISTINGS])
def test_layers_are_those_of_the_published_checkpoints(listing):
    published = json.loads(listing.read_text())
    with torch.device("meta"):
        network = EDVR(size_of(published["config"]))

    layers = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert list(layers.items()) == list(published["keys"].items())
    assert sum(p.numel() for p in network.parameters()) == published["num_parameters"]


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "recipe"])
def test_numbers_are_those_of_the_original(name):
    case = GOLDEN[name]
    network, (lr, hr) = filled(EDVR(size_of(case["config"]))), frames(case)

    with torch.inference_mode():
        fused = network(lr, hr)
        assert largest_difference(fused.image, case["out"]) < 1e-5
        if "corr_score" in case:
            torch.testing.assert_close(
                fused.scores[0], torch.tensor(case["corr_score"]), rtol=0, atol=1e-6
            )
        if "aligned_feat" in case:
            features = [network.lr_features(lr[:, k]) for k in range(3)]
            features += [network.hr_features(hr[:, k]) for k in range(2)]
            aligned = network.aligned(features, network.reference)
            assert largest_difference(torch.stack(aligned, 1), case["aligned_feat"]) < 1e-5
            attended = network.attend(aligned)
            assert largest_difference(attended.features, case["fused_feat"]) < 1e-5
    if fused.shares is not None:
        torch.testing.assert_close(fused.shares.sum(), torch.tensor(1.0))


@pytest.mark.parametrize(("lr_frames", "hr_frames"), [(3, 2), (5, 0)])
def test_images_of_any_size_are_those_of_the_description(lr_frames, hr_frames):
    alignment = AlignmentSize(groups=2, extract_blocks=2)
    size = EDVRSize(1, 8, lr_frames, hr_frames, alignment, reconstruct_blocks=2)
    network, generator = filled(EDVR(size)), torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for name, parameter in network.named_parameters():
            if "conv_offset" in name:
                parameter.mul_(3)  # far enough to sample beyond the edges
        for h, w in ((4, 4), (4, 16), (20, 12)):
            lr = torch.rand(2, lr_frames, 1, h, w, generator=generator)
            hr = torch.rand(2, 2, 1, 4 * h, 4 * w, generator=generator) if hr_frames else None

            made = network(lr, hr)

            image, scores = edvr(network.state_dict(), lr, hr, groups=2)
            assert (made.image - image).abs().max() < 2e-5 * image.std()
            torch.testing.assert_close(made.scores, scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 6, 9, 2), (2, 8, 4, 4, 4), (1, 4, 1, 7, 1)])
def test_deformable_convolution_is_its_definition_however_far_it_samples(shape):
    n, channels, h, w, groups = shape
    torch.manual_seed(0)
    x, offset = torch.randn(n, channels, h, w), 5 * torch.randn(n, 18 * groups, h, w)
    mask, weight, bias = (
        torch.rand(n, 9 * groups, h, w),
        torch.randn(5, channels, 3, 3),
        torch.ones(5),
    )

    made = modulated_deformable_conv(x, offset, mask, weight, bias)

    expected = deformable(x, offset, mask, weight, bias, groups)
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)


def test_rounding_is_that_of_float32():
    size = EDVRSize(features=16, alignment=AlignmentSize(4, 1), reconstruct_blocks=2)
    network, generator = filled(EDVR(size)), torch.Generator().manual_seed(0)
    lr = torch.rand(1, 3, 1, 4, 20, generator=generator)
    hr = torch.rand(1, 2, 1, 16, 80, generator=generator)

    with torch.inference_mode():
        single = network(lr, hr).image
        double = network.double()(lr.double(), hr.double()).image

    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 1e-5 * double.std()


def test_the_network_can_be_trained():
    size = EDVRSize(features=8, alignment=AlignmentSize(2, 1), reconstruct_blocks=1)
    network = EDVR(size)

    fused = network(torch.rand(2, 3, 1, 8, 12), torch.rand(2, 2, 1, 32, 48))
    fused.image.square().mean().backward()

    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert not without
