"""Residual blocks without normalisation, and splitting a convolution of concatenated features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SLOPE", "ResidualBlock", "activate", "convolve_part", "residual_blocks"]

SLOPE = 0.1
"""Of the leaky rectifier between the convolutions of the published networks."""

_INITIAL_SCALE = 0.1


class ResidualBlock(nn.Module):
    """``x + conv2(ReLU(conv1(x)))`` with 3 x 3 convolutions.

    Parameters
    ----------
    channels : int
        Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # Small, so that a long chain of blocks begins near the identity.
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(_INITIAL_SCALE)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, h, w) from the same."""
        y: Tensor = self.conv2(functional.relu(self.conv1(x), inplace=True))
        return x + y


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """Return a chain of `count` residual blocks."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def activate(x: Tensor) -> Tensor:
    """Leaky rectifier of slope 0.1, in place: only for what nobody else holds."""
    return functional.leaky_relu(x, SLOPE, inplace=True)


def convolve_part(conv: nn.Conv2d, x: Tensor, part: slice, *, bias: bool) -> Tensor:
    """Convolve a part of what `conv` takes concatenated.

    The parts' results add up to that of the whole, and a part that several wholes share is done
    once.

    Parameters
    ----------
    conv : nn.Conv2d
        Takes (n, c, h, w).
    x : (n, len(part), h, w)
        The channels `part` of these.
    part : slice
        Which channels.
    bias : bool
        Whether to add the bias, which is to be added once.
    """
    return functional.conv2d(
        x, conv.weight[:, part], conv.bias if bias else None, padding=conv.padding
    )
