"""The published networks as plain functions of a state dict: slow, literal, nothing shared.

What the networks of the plugins are held against, at sizes for which no reference output is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as f

__all__ = ["deformable", "edvr", "swin_xvr"]

Weights = Mapping[str, Tensor]
_APART = -100.0


def edvr(weights: Weights, lr: Tensor, hr: Tensor | None, groups: int) -> tuple[Tensor, Tensor]:
    """Return image (n, 1, 4 h, 4 w) and raw attention scores (n, slots)."""
    slots = _frame_features(weights, lr, hr)
    pyramids = [_pyramid(weights, "", _blocks(weights, "feature_extraction", x)) for x in slots]
    reference = lr.shape[1] // 2
    aligned = [_aligned(weights, x, pyramids[reference], groups) for x in pyramids]
    x, scores = _attention(weights, aligned, reference)
    x = _blocks(weights, "reconstruction", x)
    x = _leaky(f.pixel_shuffle(_conv(weights, "upconv1", x), 2))
    x = _leaky(f.pixel_shuffle(_conv(weights, "upconv2", x), 2))
    x = _conv(weights, "conv_last", _leaky(_conv(weights, "conv_hr", x)))
    return x + _larger(lr[:, reference], 4), scores


def swin_xvr(
    weights: Weights,
    lr: Tensor,
    hr: Tensor,
    window: tuple[int, int, int],
    heads: int,
    groups: int | None,
) -> Tensor:
    """Return the image (n, 1, 4 h, 4 w); `groups` of the alignment, None without it."""
    slots, reference = _frame_features(weights, lr, hr), lr.shape[1] // 2
    if groups is not None:
        pyramids = [_pyramid(weights, "", _blocks(weights, "feature_extraction", x)) for x in slots]
        slots = [_aligned(weights, x, pyramids[reference], groups) for x in pyramids]
    if "channel_projection.weight" in weights:
        slots = [_conv(weights, "channel_projection", x) for x in slots]
    first = torch.stack(slots, dim=1).permute(0, 1, 3, 4, 2)
    x = first
    for stage in range(_count(weights, "layers.", 1)):
        y = x
        for block in range(_count(weights, f"layers.{stage}.residual_group.blocks.", 4)):
            name = f"layers.{stage}.residual_group.blocks.{block}"
            y = _swin_block(weights, name, y, window, heads, shifted=block % 2 == 1)
        x = x + _each_slot(weights, f"layers.{stage}.conv", y)
    x = _each_slot(weights, "conv_after_body", _norm(weights, "norm", x)) + first
    image = x[:, reference].permute(0, 3, 1, 2)
    image = f.leaky_relu(_conv(weights, "conv_before_upsample.0", image), 0.01)
    image = f.pixel_shuffle(_conv(weights, "upsample.0", image), 2)
    image = f.pixel_shuffle(_conv(weights, "upsample.2", image), 2)
    return _conv(weights, "conv_last", image)


def deformable(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, groups: int
) -> Tensor:
    """Modulated deformable convolution 3 x 3, tap by tap, its four neighbours by index."""
    n, channels, height, width = x.shape
    of_group = channels // groups
    rows = torch.arange(height).reshape(1, height, 1)
    columns = torch.arange(width).reshape(1, 1, width)
    out = bias.reshape(1, -1, 1, 1).expand(n, -1, height, width).clone()
    for g, ky, kx in product(range(groups), range(3), range(3)):
        tap = 9 * g + 3 * ky + kx
        row = rows - 1 + ky + offset[:, 2 * tap]
        column = columns - 1 + kx + offset[:, 2 * tap + 1]
        part = x[:, g * of_group : (g + 1) * of_group]
        sample = torch.zeros_like(part)
        for below, right in product((0, 1), (0, 1)):
            i, j = row.floor() + below, column.floor() + right
            share = (1 - (row - i).abs()) * (1 - (column - j).abs())
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            at = (i.clamp(0, height - 1) * width + j.clamp(0, width - 1)).long().flatten(1)
            values = part.flatten(2).gather(2, at[:, None].expand(-1, of_group, -1))
            sample += values.reshape(part.shape) * (share * inside)[:, None]
        kernel = weight[:, g * of_group : (g + 1) * of_group, ky, kx]
        out += torch.einsum("oc,nchw->nohw", kernel, sample * mask[:, tap : tap + 1])
    return out


def _frame_features(weights: Weights, lr: Tensor, hr: Tensor | None) -> list[Tensor]:
    slots = [_leaky(_conv(weights, "conv_first", lr[:, k])) for k in range(lr.shape[1])]
    for k in range(0 if hr is None else hr.shape[1]):
        x = _leaky(_conv(weights, "conv_first_hi", hr[:, k]))  # type: ignore[index]
        for name in ("conv1_hi", "conv2_hi"):
            x = f.max_pool2d(_leaky(_conv(weights, name, x)), 3, stride=2, padding=1)
        slots.append(x)
    return slots


def _pyramid(weights: Weights, suffix: str, l1: Tensor) -> dict[str, Tensor]:
    levels = {"l1": l1}
    for level, finer in (("l2", "l1"), ("l3", "l2")):
        x = _leaky(_conv(weights, f"conv_{level}_1{suffix}", levels[finer], stride=2))
        levels[level] = _leaky(_conv(weights, f"conv_{level}_2{suffix}", x))
    return levels


def _aligned(
    weights: Weights, frame: dict[str, Tensor], reference: dict[str, Tensor], groups: int
) -> Tensor:
    def conv(name: str, *parts: Tensor) -> Tensor:
        return _conv(weights, f"pcd_align.{name}", torch.cat(parts, dim=1))

    def warp(name: str, x: Tensor, guide: Tensor) -> Tensor:
        a, b, m = conv(f"{name}.conv_offset", guide).chunk(3, dim=1)
        kernel, bias = (weights[f"pcd_align.{name}.{part}"] for part in ("weight", "bias"))
        return deformable(x, torch.cat((a, b), dim=1), m.sigmoid(), kernel, bias, groups)

    offset = feature = torch.empty(0)
    for level in ("l3", "l2", "l1"):
        found = _leaky(conv(f"offset_conv1.{level}", frame[level], reference[level]))
        if level == "l3":
            offset = _leaky(conv("offset_conv2.l3", found))
            feature = _leaky(warp("dcn_pack.l3", frame["l3"], offset))
            continue
        found = _leaky(conv(f"offset_conv2.{level}", found, 2 * _larger(offset, 2)))
        offset = _leaky(conv(f"offset_conv3.{level}", found))
        warped = warp(f"dcn_pack.{level}", frame[level], offset)
        feature = conv(f"feat_conv.{level}", warped, _larger(feature, 2))
        feature = _leaky(feature) if level == "l2" else feature
    guide = _leaky(conv("cas_offset_conv1", feature, reference["l1"]))
    return _leaky(warp("cas_dcnpack", feature, _leaky(conv("cas_offset_conv2", guide))))


def _attention(weights: Weights, aligned: list[Tensor], reference: int) -> tuple[Tensor, Tensor]:
    def conv(name: str, x: Tensor) -> Tensor:
        return _conv(weights, f"fusion.{name}", x)

    def pooled(x: Tensor) -> Tensor:
        # The padding counts: nine pixels are averaged at the edges, too.
        sums = f.conv2d(x, torch.ones(x.shape[1], 1, 3, 3), stride=2, padding=1, groups=x.shape[1])
        return torch.cat((f.max_pool2d(x, 3, stride=2, padding=1), sums / 9), dim=1)

    towards = conv("temporal_attn1", aligned[reference])
    maps = [(conv("temporal_attn2", x) * towards).sum(dim=1, keepdim=True) for x in aligned]
    weighed = torch.cat([x * m.sigmoid() for x, m in zip(aligned, maps, strict=True)], dim=1)
    features = _leaky(conv("feat_fusion", weighed))
    x = _leaky(conv("spatial_attn2", pooled(_leaky(conv("spatial_attn1", weighed)))))
    level = _leaky(conv("spatial_attn_l2", pooled(_leaky(conv("spatial_attn_l1", x)))))
    level = _larger(_leaky(conv("spatial_attn_l3", level)), 2)
    x = _leaky(conv("spatial_attn3", x)) + level
    x = conv("spatial_attn5", _larger(_leaky(conv("spatial_attn4", x)), 2))
    add = conv("spatial_attn_add2", _leaky(conv("spatial_attn_add1", x)))
    scores = torch.cat([m.mean(dim=(2, 3)) for m in maps], dim=1)
    return features * x.sigmoid() * 2 + add, scores


def _swin_block(
    weights: Weights,
    name: str,
    x: Tensor,
    full: tuple[int, int, int],
    heads: int,
    *,
    shifted: bool,
) -> Tensor:
    grid = x.shape[1:4]
    window = [min(n, w) for n, w in zip(grid, full, strict=True)]
    shift = [w // 2 if shifted and n > w else 0 for n, w in zip(grid, full, strict=True)]
    padded = [-(-n // w) * w for n, w in zip(grid, window, strict=True)]
    n, channels = x.shape[0], x.shape[-1]
    y = torch.zeros(n, *padded, channels)
    y[:, : grid[0], : grid[1], : grid[2]] = _norm(weights, f"{name}.norm1", x)
    y = y.roll([-s for s in shift], (1, 2, 3))
    labels = torch.zeros(padded, dtype=torch.long)
    spans = [
        (slice(0, -w), slice(-w, -s), slice(-s, None)) if s else (slice(None),)
        for w, s in zip(window, shift, strict=True)
    ]
    for count, span in enumerate(product(*spans)):
        labels[span] = count
    tokens = window[0] * window[1] * window[2]
    # As published: the leading corner of the full window's index, whatever the window is.
    index = _relative_index(full)[:tokens, :tokens]
    table = weights[f"{name}.attn.relative_position_bias_table"]
    bias = table[index.flatten()].reshape(tokens, tokens, heads).permute(2, 0, 1)
    out = torch.zeros_like(y)
    for begin in product(*(range(0, p, w) for p, w in zip(padded, window, strict=True))):
        at = tuple(slice(b, b + w) for b, w in zip(begin, window, strict=True))
        inside = y[(slice(None), *at)].reshape(n, tokens, channels)
        qkv = _linear(weights, f"{name}.attn.qkv", inside)
        q, k, v = qkv.reshape(n, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        of = labels[at].flatten()
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
        scores = scores + torch.where(of[:, None] != of[None], _APART, 0.0)
        made = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(n, tokens, channels)
        made = _linear(weights, f"{name}.attn.proj", made)
        out[(slice(None), *at)] = made.reshape(n, *window, channels)
    out = out.roll(shift, (1, 2, 3))[:, : grid[0], : grid[1], : grid[2]]
    x = x + out
    y = f.gelu(_linear(weights, f"{name}.mlp.fc1", _norm(weights, f"{name}.norm2", x)))
    return x + _linear(weights, f"{name}.mlp.fc2", y)


def _relative_index(window: tuple[int, int, int]) -> Tensor:
    places = torch.tensor(list(product(*map(range, window))))
    apart = places[:, None] - places[None] + torch.tensor(window) - 1
    d, h, w = apart.unbind(-1)
    return d * (2 * window[1] - 1) * (2 * window[2] - 1) + h * (2 * window[2] - 1) + w


def _conv(weights: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    kernel = weights[f"{name}.weight"]
    return f.conv2d(x, kernel, weights[f"{name}.bias"], stride, padding=kernel.shape[-1] // 2)


def _each_slot(weights: Weights, name: str, x: Tensor) -> Tensor:
    slots = [_conv(weights, name, slot.permute(0, 3, 1, 2)) for slot in x.unbind(1)]
    return torch.stack(slots, dim=1).permute(0, 1, 3, 4, 2)


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _blocks(weights: Weights, name: str, x: Tensor) -> Tensor:
    for k in range(_count(weights, f"{name}.", 1)):
        y = f.relu(_conv(weights, f"{name}.{k}.conv1", x))
        x = x + _conv(weights, f"{name}.{k}.conv2", y)
    return x


def _larger(x: Tensor, times: int) -> Tensor:
    """Bilinear, centres of pixels half a pixel from the edges."""
    for axis in (-2, -1):
        n = x.shape[axis]
        place = ((torch.arange(n * times) + 0.5) / times - 0.5).clamp(0, n - 1)
        before = place.floor().long()
        after = (before + 1).clamp(max=n - 1)
        share = (place - before).reshape((-1, 1) if axis == -2 else (-1,))
        x = x.index_select(axis, before) * (1 - share) + x.index_select(axis, after) * share
    return x


def _leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def _count(weights: Weights, prefix: str, place: int) -> int:
    return len({name.split(".")[place] for name in weights if name.startswith(prefix)})
