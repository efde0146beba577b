"""SWIN-XVR is the published network in all its forms: layers, shapes and numbers."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from published_networks import swin_xvr
from reference_networks import filled, frames, largest_difference
from torch.nn import functional
from xfusion_swin_xvr.network import SwinXVR, SwinXVRSize
from xfusion_swin_xvr.windows import Windows, attend_in_windows, relative_position_index

from xfusion_bluesky.nn.encoder import AlignmentSize

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text())
LISTINGS = sorted((HERE / "keys").glob("*.json"))


def network_of(config, *, multi_output):
    aligns = config.get("align_features_ok", False)
    return SwinXVR(
        SwinXVRSize(
            channels=config["num_in_ch"],
            features=config.get("num_feat_ext", 192),
            embedded=config["embed_dim"],
            window=tuple(config["window_size"]),
            depths=tuple(config["depths"]),
            heads=tuple(config["num_heads"]),
            hidden=config["mlp_ratio"] * config["embed_dim"],
            lr_frames=config["num_frame"],
            alignment=AlignmentSize(
                config.get("deformable_groups", 8), config.get("num_extract_block", 5)
            )
            if aligns
            else None,
            projects=config.get("adapt_deformable_conv", False),
            multi_output=multi_output,
        )
    )


@pytest.mark.parametrize("listing", LISTINGS, ids=[listing.stem for listing in LISTINGS])
def test_layers_are_those_of_the_published_checkpoints(listing):
    published = json.loads(listing.read_text())
    with torch.device("meta"):
        network = network_of(published["config"], multi_output="vstf" in listing.stem)

    layers = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert list(layers.items()) == list(published["keys"].items())
    assert sum(p.numel() for p in network.parameters()) == published["num_parameters"]


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "recipe"])
def test_numbers_are_those_of_the_original(name):
    case, multi_output = GOLDEN[name], "vstf" in name
    network = filled(network_of(case["config"], multi_output=multi_output))
    lr, hr = frames(case)

    with torch.inference_mode():
        if multi_output:
            image = torch.stack(network.images(network.features(lr, hr), [0, 1, 2]), dim=1)
        else:
            image = network(lr, hr).image

    # The original in float32 is within 2e-5 of itself in float64; outputs deviate by 1 to 5.
    assert largest_difference(image, case["out"]) < 3e-5


ALIGNMENT = AlignmentSize(groups=2, extract_blocks=1)
FORMS = [
    SwinXVRSize(1, 8, 8, (5, 4, 4), (2, 3), (2, 2), 16),
    SwinXVRSize(1, 8, 8, (5, 8, 8), (2,), (2,), 16),
    SwinXVRSize(1, 12, 8, (7, 3, 3), (2,), (4,), 8, lr_frames=5, projects=True),
    SwinXVRSize(1, 12, 8, (5, 8, 8), (2,), (2,), 16, alignment=ALIGNMENT, projects=True),
]


@pytest.mark.parametrize("size", FORMS, ids=lambda size: f"{size.window}, {size.alignment}")
def test_images_of_any_size_are_those_of_the_description(size):
    network, generator = filled(SwinXVR(size)), torch.Generator().manual_seed(0)
    odd, multiples = ((5, 7), (3, 3), (1, 9), (2, 13), (11, 8)), ((4, 4), (4, 12))
    with torch.inference_mode():
        for h, w in odd if size.alignment is None else multiples:
            lr = torch.rand(2, size.lr_frames, 1, h, w, generator=generator)
            hr = torch.rand(2, 2, 1, 4 * h, 4 * w, generator=generator)

            made = network(lr, hr).image

            groups = None if size.alignment is None else size.alignment.groups
            expected = swin_xvr(
                network.state_dict(), lr, hr, size.window, size.heads[0], groups=groups
            )
            assert (made - expected).abs().max() < 2e-5 * expected.std()


def by_definition(qkv, windows, table, full_window):
    """Attention with the mask of the whole grid, window by window, as the papers write it."""
    n, d, h, w, _, heads, channels = qkv.shape
    labels = torch.zeros(d, h, w, dtype=torch.long)
    spans = [
        (slice(0, -size), slice(-size, -shift), slice(-shift, None)) if shift else (slice(None),)
        for size, shift in zip(windows.size, windows.shift, strict=True)
    ]
    for count, part in enumerate(product(*spans)):
        labels[part] = count
    tokens = windows.size[0] * windows.size[1] * windows.size[2]
    index = relative_position_index(full_window)[:tokens, :tokens]
    bias = table[index.reshape(-1)].reshape(tokens, tokens, heads).permute(2, 0, 1)
    out = torch.empty(n, d, h, w, heads * channels)
    steps = [range(0, side, size) for side, size in zip((d, h, w), windows.size, strict=True)]
    for begins in product(*steps):
        at = tuple(slice(b, b + size) for b, size in zip(begins, windows.size, strict=True))
        here = labels[at].reshape(-1)
        mask = torch.where(here[:, None] != here[None], -100.0, 0.0)
        inside = qkv[(slice(None), *at)].reshape(n, tokens, 3, heads, channels)
        q, k, v = inside.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * channels**-0.5 + bias + mask
        made = (scores.softmax(-1) @ v).transpose(1, 2)
        out[(slice(None), *at)] = made.reshape(n, *windows.size, heads * channels)
    return out


@pytest.mark.parametrize("grid", [(5, 12, 16), (5, 8, 4), (7, 4, 12), (5, 3, 8), (2, 3, 2)])
@pytest.mark.parametrize("shifted", [False, True])
def test_attention_in_windows_is_what_its_definition_says(grid, shifted):
    full, heads = (5, 4, 4), 2
    torch.manual_seed(1)
    windows = Windows.of(grid, full, shifted=shifted)
    padded = [side + more for side, more in zip(grid, windows.padding(grid), strict=True)]
    qkv, table = torch.randn(2, *padded, 3, heads, 6), torch.randn(9 * 7 * 7, heads)
    tokens = windows.size[0] * windows.size[1] * windows.size[2]
    index = relative_position_index(full)[:tokens, :tokens]
    bias = table[index.reshape(-1)].reshape(tokens, tokens, heads).permute(2, 0, 1)

    made = attend_in_windows(qkv, windows, bias)

    torch.testing.assert_close(made, by_definition(qkv, windows, table, full), rtol=0, atol=1e-5)


def test_large_frames_are_worked_on_in_bands_without_a_trace():
    size = SwinXVRSize(1, 4, 32, (5, 8, 8), (2,), (2,), 32, projects=True)
    network = filled(SwinXVR(size)).requires_grad_(False)
    lr, hr = torch.rand(1, 3, 1, 100, 256), torch.rand(1, 2, 1, 400, 1024)

    # Where gradients are wanted, all rows are one band.
    whole = network(lr, hr).image
    with torch.inference_mode():
        banded = network(lr, hr).image

    assert (banded - whole).abs().max() < 1e-5 * whole.std()


def test_the_network_can_be_trained():
    size = SwinXVRSize(1, 8, 8, (5, 2, 2), (2,), (2,), 16, 3, AlignmentSize(2, 1))
    network = SwinXVR(size)

    fused = network(torch.rand(1, 3, 1, 8, 8), torch.rand(1, 2, 1, 32, 32))
    functional.l1_loss(fused.image, torch.zeros(1, 1, 32, 32)).backward()

    assert not [name for name, p in network.named_parameters() if p.grad is None]
