"""Checkpoints are read as BasicSR, XFusion and safetensors write them, and nothing is run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xfusion_bluesky.nn.checkpoints import CheckpointError, fit, read_checkpoint

WEIGHTS = {"conv.weight": torch.rand(2, 1, 3, 3), "conv.bias": torch.rand(2)}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)


class Marker:
    """What must not come to life."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("container", ["params", "params_ema", "state_dict", ""])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_container_is_read(container: str, prefix: str, tmp_path: Path) -> None:
    named = {prefix + name: tensor for name, tensor in WEIGHTS.items()}
    path = tmp_path / "net_g_5000.pth"
    torch.save({container: named} if container else named, path)

    read = read_checkpoint(path)

    assert read.container == container
    assert list(read.tensors) == list(WEIGHTS)
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    network = Small()
    fit(network, read, "a small network")
    assert torch.equal(network.conv.weight, WEIGHTS["conv.weight"])
    assert not network.training


def test_the_preferred_container_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"params": WEIGHTS, "params_ema": {"a": torch.ones(1)}}, path)

    assert list(read_checkpoint(path, ("params", "params_ema")).tensors) == list(WEIGHTS)
    assert list(read_checkpoint(path, ("params_ema", "params")).tensors) == ["a"]


def test_safetensors_and_old_and_half_precision_files_are_read(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in WEIGHTS.items()}
    save_file(WEIGHTS, tmp_path / "a.pth")
    torch.save({"params": halves}, tmp_path / "b", _use_new_zipfile_serialization=False)

    for name in ("a.pth", "b"):
        tensors = read_checkpoint(tmp_path / name).tensors
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
        torch.testing.assert_close(tensors, WEIGHTS, rtol=1e-3, atol=1e-3)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    torch.save({"params": WEIGHTS, "more": Marker(str(mark))}, tmp_path / "w.pth")

    with pytest.raises(CheckpointError, match=r"more than numbers .* is not opened"):
        read_checkpoint(tmp_path / "w.pth")
    assert not mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.99])
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_file_that_was_cut_short_is_refused(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "w"
    if kind == "torch":
        torch.save({"params": WEIGHTS}, path)
    else:
        save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    with pytest.raises(CheckpointError, match=r"copy it again|no file of weights"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "iter": 5000}, r"epoch, iter .* training state"),
        ({}, "no weights"),
        ([torch.zeros(1)], "a list instead of named weights"),
        ({"params": {"a": torch.tensor([1.0, float("nan")])}}, "not finite in a"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")

    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "w.pth")


def test_a_missing_file_and_a_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give its whole path"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "notes.txt").write_text("weights are with Anna\n" * 40)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "notes.txt")


def test_weights_that_do_not_fit_are_reported_in_full(tmp_path: Path) -> None:
    many = {f"layer{k}": torch.zeros(1) for k in range(6)}
    torch.save({"conv.weight": torch.zeros(2, 3, 3, 3), **many}, tmp_path / "w.pth")
    network = Small()
    before = network.conv.weight.clone()

    with pytest.raises(CheckpointError) as refused:
        fit(network, read_checkpoint(tmp_path / "w.pth"), "a small network")

    assert "missing: conv.bias; unexpected: layer0, layer1, layer2, layer3 and 2 more; of" in str(
        refused.value
    )
    assert "conv.weight [2, 3, 3, 3] instead of [2, 1, 3, 3]" in str(refused.value)
    assert torch.equal(network.conv.weight, before)
