"""Which network a checkpoint belongs to, told by the names of its layers."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["described", "is_edvr", "is_edvr_stf", "is_swin_xvr"]

_ALIGNS = "pcd_align.cas_dcnpack.weight"
_TAKES_HR = "conv_first_hi.weight"
_ATTENDS = "layers.0.residual_group.blocks.0.attn.qkv.weight"
_SHOWN = 3


def is_swin_xvr(names: Collection[str]) -> bool:
    """Whether these are layers of SWIN-XVR."""
    return _ATTENDS in names and _TAKES_HR in names


def is_edvr_stf(names: Collection[str]) -> bool:
    """Whether these are layers of EDVR-STF."""
    return _ALIGNS in names and _TAKES_HR in names and _ATTENDS not in names


def is_edvr(names: Collection[str]) -> bool:
    """Whether these are layers of EDVR without HR frames."""
    return _ALIGNS in names and _TAKES_HR not in names and _ATTENDS not in names


def described(names: Collection[str]) -> str:
    """Return in words what network layers belong to."""
    if is_swin_xvr(names):
        return "SWIN-XVR, which backend 'swin-xvr' runs"
    if is_edvr_stf(names):
        return "EDVR-STF, which backend 'edvr-stf' runs"
    if is_edvr(names):
        return "EDVR without HR frames, which backend 'edvr' runs"
    if any(".fnet." in f".{name}" for name in names):
        return "an optical flow network (RAFT), which no backend runs"
    return f"a network not known here, with the layers {', '.join(list(names)[:_SHOWN])} ..."
