"""Backends edvr and edvr-stf: sequences, ends, sizes, memory, attention, and what they refuse."""

import json

import numpy as np
import pytest
import torch
from reference_networks import filled, save
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from xfusion_edvr import EDVRBackend, EDVRSTFBackend
from xfusion_edvr.network import EDVR, EDVRSize

from xfusion_bluesky.backends.registry import Registry
from xfusion_bluesky.backends.runner import checked_frames
from xfusion_bluesky.fusion.operators import block_mean
from xfusion_bluesky.fusion.sequence import DualSequence
from xfusion_bluesky.nn.encoder import AlignmentSize

SIZE = EDVRSize(features=16, alignment=AlignmentSize(4, 1), reconstruct_blocks=2)
N = 9


@pytest.fixture(scope="module")
def network():
    return filled(EDVR(SIZE))


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    return str(save(network, tmp_path_factory.mktemp("weights") / "net_g_latest.pth"))


def movie(lr_shape=(16, 24), n=N, hr_at=(0, 4, 8), **options):
    height, width = (4 * side for side in lr_shape)
    rows, columns = np.indices((height, width))
    still = 0.6 + 0.3 * np.random.default_rng(3).random((height, width))
    scene = np.float32(
        [
            still - 0.5 * np.exp(-((rows - 30) ** 2 + (columns - 20 - 3 * t) ** 2) / 50)
            for t in range(n)
        ]
    )
    hr = scene[list(hr_at)]
    return DualSequence.from_arrays(
        block_mean(scene), hr, 1e3 * np.arange(n), 1e3 * np.array(hr_at, float), **options
    )


def images(backend, sequence, targets=None):
    targets = range(sequence.n_lr) if targets is None else targets
    return [timed.frame for timed in checked_frames(backend, sequence, targets)]


def stack(arrays):
    return torch.from_numpy(np.stack(arrays))[None, :, None]


def window(sequence, target):
    last = sequence.n_lr - 1
    near = sequence.neighbours(target)
    before = near.after if near.before is None else near.before
    after = near.before if near.after is None else near.after
    lr = [sequence.lr(i) for i in (max(0, target - 1), target, min(last, target + 1))]
    return stack(lr), stack([sequence.hr(before), sequence.hr(after)])


def test_a_sequence_gives_what_each_window_gives_alone(network, weights):
    sequence = movie()
    made = images(EDVRSTFBackend(weights, intensities="unit"), sequence)

    for frame in made:
        with torch.inference_mode():
            alone = network(*window(sequence, frame.target))
        expected = alone.image[0, 0].numpy()
        assert np.abs(frame.image - expected).max() < 1e-5 * expected.std()
        scores = [frame.diagnostics[f"score_{k}"] for k in ("lr-1", "lr+0", "lr+1", "hr_before")]
        np.testing.assert_allclose(scores, alone.scores[0][:4], atol=1e-6)
        shares = alone.shares[0].tolist()
        one_sided = frame.target == N - 1
        assert frame.attention == pytest.approx(
            (shares[3] + shares[4], 0, sum(shares[:3]))
            if one_sided
            else (shares[3], shares[4], sum(shares[:3]))
        )


def test_frames_and_windows_can_be_fused_as_batches(network):
    generator = torch.Generator().manual_seed(0)
    lr, hr = (
        torch.rand(2, n, 1, 8 * scale, 12 * scale, generator=generator)
        for n, scale in ((3, 2), (2, 8))
    )
    with torch.inference_mode():
        both = network(lr, hr).image
        alone = torch.cat([network(lr[k : k + 1], hr[k : k + 1]).image for k in range(2)])
        frames = [network.lr_features(lr[:, k]) for k in range(3)]
        target = network.pcd_align.reference(frames[1].levels)
        at_once = network._aligned_at_once(frames, target)

        torch.testing.assert_close(both, alone, rtol=0, atol=1e-5)
        for a, b in zip(at_once, network.aligned(frames, 1), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def multiply_adds(run):
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        result = run()
    return counter.get_total_flops() // 2, result


def test_a_sequence_takes_fewer_multiplications_than_its_windows():
    with torch.device("meta"):
        published, lr, hr = (
            EDVR(EDVRSize()),
            torch.empty(1, 1, 100, 256),
            torch.empty(1, 1, 400, 1024),
        )
    of_lr, a = multiply_adds(lambda: published.lr_features(lr))
    of_hr, b = multiply_adds(lambda: published.hr_features(hr))
    of_fusion, _ = multiply_adds(lambda: published.fuse([a, a, a, b, b], lr))

    of_windows, of_sequence = 3 * of_lr + 2 * of_hr + of_fusion, of_lr + of_hr / 20 + of_fusion
    assert of_windows / of_sequence > 1.4


def test_each_frame_is_looked_at_once(network, weights):
    sequence, backend = movie(), EDVRSTFBackend(weights)
    of_lr, a = multiply_adds(lambda: network.lr_features(torch.rand(1, 1, 16, 24)))
    of_hr, b = multiply_adds(lambda: network.hr_features(torch.rand(1, 1, 64, 96)))
    of_fusion, _ = multiply_adds(lambda: network.fuse([a, a, a, b, b], torch.rand(1, 1, 16, 24)))

    whole, _ = multiply_adds(lambda: images(backend, sequence))

    assert whole == N * of_lr + 3 * of_hr + N * of_fusion


def test_a_lost_lr_frame_is_replaced_by_the_target_and_masked_itself(network, weights):
    sequence = movie(lr_valid=[k != 3 for k in range(N)])
    made = images(EDVRSTFBackend(weights, intensities="unit"), sequence)

    assert made[3].diagnostics == {"masked": 1.0}
    lr, hr = window(sequence, 4)
    lr[:, 0] = lr[:, 1]
    with torch.inference_mode():
        expected = network(lr, hr).image[0, 0].numpy()
    np.testing.assert_allclose(made[4].image, expected, atol=1e-5)


def test_intensities_are_normalised_inside_and_restored(weights):
    backend, scene = EDVRSTFBackend(weights), movie()
    counts = DualSequence.from_arrays(
        np.stack([50 + 2e4 * scene.lr(i) for i in range(N)]),
        np.stack([-3 + 7e3 * scene.hr(j) for j in range(3)]),
        scene.lr_time_ns,
        scene.hr_time_ns,
    )
    for plain, counted in zip(images(backend, scene), images(backend, counts), strict=True):
        np.testing.assert_allclose((counted.image + 3) / 7e3, plain.image, atol=1e-4)


def test_a_frame_of_any_size_is_reflected_to_a_multiple_of_four(network, weights):
    sequence = movie((9, 14))
    made = images(EDVRSTFBackend(weights, intensities="unit"), sequence, [4])[0]

    lr, hr = window(sequence, 4)
    lr, hr = (
        functional.pad(x[:, :, 0], (0, 2 * scale, 0, 3 * scale), mode="reflect")[:, :, None]
        for x, scale in ((lr, 1), (hr, 4))
    )
    with torch.inference_mode():
        expected = network(lr, hr).image[0, 0, :36, :56].numpy()
    np.testing.assert_allclose(made.image, expected, atol=1e-5)


def test_tiles_make_nearly_the_same_image(weights):
    sequence = movie((40, 72), n=3, hr_at=(0, 2))
    whole, tiled, fitting = (
        images(EDVRSTFBackend(weights, tile_px=tile_px), sequence, [1])[0]
        for tile_px in (0, 64, 72)
    )

    assert tiled.diagnostics["tiles"] == 2
    apart = tiled.image - whole.image
    assert np.sqrt(np.square(apart).mean()) < 0.05 * whole.image.std()
    np.testing.assert_allclose(apart[:, :100], 0, atol=1e-3)
    assert tiled.attention == pytest.approx(whole.attention, abs=1e-3)
    np.testing.assert_array_equal(fitting.image, whole.image)


def test_a_network_of_five_lr_frames_and_no_attention_runs(tmp_path):
    size = EDVRSize(
        features=8, alignment=AlignmentSize(2, 1), reconstruct_blocks=1, lr_frames=5, attends=False
    )
    backend = EDVRSTFBackend(str(save(EDVR(size), tmp_path / "w.pth")))

    assert (backend.info.lr_context, backend.info.gives_attention) == (2, False)
    assert all(frame.attention is None for frame in images(backend, movie()))


def test_without_weights_it_is_listed_and_not_chosen():
    registry = Registry.discover()

    assert not {"edvr", "edvr-stf"} & set(registry.available())
    for backend in ("edvr", "edvr-stf"):
        assert registry.factories[backend].factory.info.unavailable == "needs --weights"
        with pytest.raises(ValueError, match="--weights FILE"):
            registry.create(backend)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "none of auto, fp32, tf32, bf16"),
        ({"precision": "tf32", "device": "cpu"}, "use fp32 on a CPU"),
        ({"device": "gpu"}, "none of auto, cpu, cuda, cuda:N"),
        ({"device": "cuda:99"}, "use device cpu"),
        ({"tile_px": -1}, "less than 0"),
        ({"intensities": "minmax"}, "none of"),
        ({"sha256": "0" * 64}, "another file"),
    ],
)
def test_options_that_cannot_be_are_refused(weights, options, message):
    with pytest.raises(ValueError, match=message):
        EDVRSTFBackend(weights, **options)


def test_a_checkpoint_of_another_network_is_refused_with_what_it_is(weights, tmp_path):
    with pytest.raises(ValueError, match="EDVR-STF, which backend 'edvr-stf' runs"):
        EDVRBackend(weights)
    colour = save(
        EDVR(EDVRSize(3, 8, alignment=AlignmentSize(2, 1), reconstruct_blocks=1)),
        tmp_path / "c.pth",
    )
    with pytest.raises(ValueError, match="3 channels"):
        EDVRSTFBackend(str(colour))


def test_a_checkpoint_without_a_layer_is_refused_by_name(network, tmp_path):
    tensors = dict(network.state_dict())
    del tensors["conv_hr.bias"]
    tensors["extra"] = torch.zeros(2)
    torch.save({"params": tensors}, tmp_path / "w.pth")

    with pytest.raises(ValueError, match=r"missing: conv_hr.bias; unexpected: extra\. Nothing"):
        EDVRSTFBackend(str(tmp_path / "w.pth"))
    del tensors["pcd_align.cas_dcnpack.conv_offset.weight"]
    torch.save({"params": tensors}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="not complete"):
        EDVRSTFBackend(str(tmp_path / "w.pth"))


def test_weights_are_told(weights):
    info = EDVRSTFBackend(weights).info

    assert info.unavailable is None
    assert info.weights.name == "net_g_latest.pth"
    assert len(info.weights.sha256) == 64
    assert json.dumps(info.weights.licence)
