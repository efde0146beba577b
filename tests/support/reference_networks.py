"""Reference weights, inputs and outputs of published networks, as their recipe makes them.

The recipe stands in the ``golden.json`` beside the tests that use it: weights and inputs follow
from NumPy's frozen legacy generator, outputs are those of the original architectures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["filled", "frames", "largest_difference", "reference_tensors", "save"]


def reference_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the recipe for the layers of a state dict."""
    made = {}
    for k, name in enumerate(sorted(state)):
        tensor = state[name]
        if not tensor.is_floating_point():
            made[name] = tensor
            continue
        u = np.random.RandomState(k).uniform(-1, 1, size=tuple(tensor.shape))
        made[name] = torch.tensor(_scaled(name, u), dtype=torch.float32)
    return {name: made[name] for name in state}


def filled(network: nn.Module) -> Any:
    """Give a network the weights of the recipe."""
    network.load_state_dict(reference_tensors(network.state_dict()), strict=True)
    return network.eval()


def frames(case: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Return LR and HR frames of a case."""
    lr, hr = (
        torch.tensor(np.random.RandomState(seed).uniform(0, 1, case[shape]), dtype=torch.float32)
        if shape in case
        else None
        for seed, shape in ((1000, "lq_shape"), (1001, "hq_shape"))
    )
    assert lr is not None
    return lr, hr


def largest_difference(made: Tensor, expected: dict[str, Any]) -> float:
    """Return how far a tensor is from a reference: of its samples, mean, deviation and range."""
    values = made.detach().numpy()
    assert list(values.shape) == expected["shape"]
    flat = values.ravel()
    numbers = {
        "mean": values.mean(dtype=np.float64),
        "std": values.std(dtype=np.float64),
        "min": values.min(),
        "max": values.max(),
    }
    apart = [abs(float(numbers[name]) - expected[name]) for name in numbers]
    return max(apart + [abs(float(flat[at]) - value) for at, value in expected["samples"]])


def save(network: nn.Module, path: Path, container: str = "params", prefix: str = "") -> Path:
    """Save a network as BasicSR and XFusion do, with the weights of the recipe."""
    tensors = reference_tensors(network.state_dict())
    torch.save({container: {prefix + name: tensor for name, tensor in tensors.items()}}, path)
    return path


def _scaled(name: str, u: Any) -> Any:
    if name.endswith("relative_position_bias_table"):
        return 0.5 * u
    if u.ndim >= 2:
        return _gain(name) * u / np.sqrt(np.prod(u.shape[1:]))
    return 1 + 0.1 * u if name.endswith(".weight") else 0.05 * u


def _gain(name: str) -> float:
    if "feature_extraction" in name or "reconstruction" in name:
        return 0.5
    if "temporal_attn" in name:
        return 0.4
    return 1.7 if name.startswith("layers.") else 2.4
