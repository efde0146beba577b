"""Trained weights from files: read without running what they may hold, and fitted strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Checkpoint", "CheckpointError", "fit", "read_checkpoint"]

_CONTAINERS = ("params", "params_ema", "state_dict")
_PREFIX = "module."
_SAFETENSORS_HEADER_BEGINS = b"{"
_SAFETENSORS_LENGTH_BYTES = 8
_SHOWN = 4


class CheckpointError(ValueError):
    """Weights cannot be used; the message says why, and what to do."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Trained weights.

    Parameters
    ----------
    path : Path
        File they came from.
    sha256 : str
        Of the file.
    container : str
        Entry of the file that held them; "" when they were at the top.
    tensors : dict
        By layer name, without the prefix ``module.``; floating ones are float32.
    """

    path: Path
    sha256: str
    container: str
    tensors: dict[str, Tensor]


def read_checkpoint(path: Path, prefer: Sequence[str] = _CONTAINERS) -> Checkpoint:
    """Read weights that BasicSR, XFusion or safetensors have written.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or what ``torch.save`` wrote; the content counts, not the name.
    prefer : sequence of str
        Which container to take where there are several, the best first.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If it is damaged, holds anything but numbers, or no weights.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path} with weights; give its whole path, because backends run in "
            f"processes that have another working folder"
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(_SAFETENSORS_LENGTH_BYTES)
        is_safetensors = file.read(1) == _SAFETENSORS_HEADER_BEGINS
    content = _from_safetensors(path) if is_safetensors else _from_torch(path)
    container, tensors = _unpacked(content, prefer, path)
    if len(tensors) and all(name.startswith(_PREFIX) for name in tensors):
        tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{path} holds values that are not finite in {name}: its training has diverged, or "
                f"the file is damaged; take an earlier checkpoint"
            )
    return Checkpoint(path, sha256, container, tensors)


def fit(network: nn.Module, checkpoint: Checkpoint, what: str) -> None:
    """Load weights into a network on which every layer has to find its own.

    Parameters
    ----------
    network : nn.Module
        May be on the meta device: the tensors of the checkpoint become its parameters.
    checkpoint : Checkpoint
        Where from.
    what : str
        The network in words.

    Raises
    ------
    CheckpointError
        If a layer is missing, superfluous or of another shape; the network is unchanged.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    parts = [
        *_listed("missing", [name for name in wanted if name not in given]),
        *_listed("unexpected", [name for name in given if name not in wanted]),
        *_listed(
            "of another shape",
            [
                f"{name} {list(given[name])} instead of {list(shape)}"
                for name, shape in wanted.items()
                if name in given and given[name] != shape
            ],
        ),
    ]
    if parts:
        raise CheckpointError(
            f"the weights in {checkpoint.path} do not fit {what}: {'; '.join(parts)}. Nothing was "
            f"loaded; give a checkpoint of this network, or another backend"
        )
    network.load_state_dict(checkpoint.tensors, strict=True, assign=True)
    network.requires_grad_(False).eval()


def _listed(what: str, names: Collection[str]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(list(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {shown}{more}"]


def _from_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is a damaged safetensors file ({error}); copy it again"
        ) from error


def _from_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":
            raise CheckpointError(
                f"{path} is no file of weights, or holds more than numbers (Python objects, which "
                f"could run code when loaded) and is not opened. If you trust who made it, save "
                f"its weights alone with torch.save or safetensors on a computer of theirs"
            ) from error
        raise CheckpointError(
            f"{path} cannot be read as weights: it is damaged or cut short, or was not written by "
            f"torch.save or safetensors ({type(error).__name__}); copy it again"
        ) from error


def _unpacked(content: object, prefer: Sequence[str], path: Path) -> tuple[str, dict[str, Tensor]]:
    if isinstance(content, Mapping):
        for container in (*prefer, *_CONTAINERS):
            inner = content.get(container)
            if isinstance(inner, Mapping):
                return container, _tensors(inner, path)
        return "", _tensors(content, path)
    raise CheckpointError(
        f"{path} holds a {type(content).__name__} instead of named weights; save "
        f"network.state_dict()"
    )


def _tensors(named: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    others = [str(name) for name, value in named.items() if not isinstance(value, Tensor)]
    if others or not named:
        what = f"{', '.join(others[:_SHOWN])} beside or instead of" if others else "no"
        raise CheckpointError(
            f"{path} holds {what} weights: a training state (*.state) is not a checkpoint; give "
            f"the file net_g_*.pth of the folder models"
        )
    return {
        str(name): value.float() if value.is_floating_point() else value
        for name, value in named.items()
    }
