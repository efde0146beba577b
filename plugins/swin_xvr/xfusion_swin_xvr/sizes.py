"""Size of a SWIN-XVR network, told by the layers of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from xfusion_bluesky.nn.architectures import described, is_swin_xvr
from xfusion_bluesky.nn.checkpoints import Checkpoint, CheckpointError
from xfusion_bluesky.nn.encoder import AlignmentSize
from xfusion_swin_xvr.network import SwinXVRSize

__all__ = ["size_of"]

_OFFSETS_PER_GROUP = 27
_HR_FRAMES = 2
_BLOCK = "layers.{}.residual_group.blocks.{}."


def size_of(checkpoint: Checkpoint) -> SwinXVRSize:
    """Return the size of the network that a checkpoint belongs to.

    Parameters
    ----------
    checkpoint : Checkpoint
        Any.

    Raises
    ------
    CheckpointError
        If it belongs to another network, or one for other images.
    """
    tensors, path = checkpoint.tensors, checkpoint.path
    if not is_swin_xvr(tensors):
        raise CheckpointError(
            f"{path} does not hold SWIN-XVR but {described(tensors)}; give another checkpoint, or "
            f"take that backend"
        )
    try:
        size = _size(tensors)
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"{path} holds SWIN-XVR without the layer {error}: it is not complete; copy it again"
        ) from error
    if size is None:
        raise CheckpointError(
            f"{path} holds SWIN-XVR whose attention windows are not understood: their rows and "
            f"columns differ, or its relative_position_index is damaged"
        )
    if size.channels != 1:
        raise CheckpointError(
            f"{path} holds SWIN-XVR for images of {size.channels} channels (colour); x-ray frames "
            f"have one: give a checkpoint that was trained with num_in_ch 1"
        )
    return size


def _size(tensors: Mapping[str, Tensor]) -> SwinXVRSize | None:
    features, channels = tensors["conv_first.weight"].shape[:2]
    stages = range(_count(tensors, "layers.", 1))
    first = _BLOCK.format(0, 0)
    table, index = (
        tensors[f"{first}attn.relative_position_{name}"] for name in ("bias_table", "index")
    )
    window = _window(table.shape[0], index.shape[0])
    if window is None:
        return None
    alignment = None
    if "pcd_align.cas_dcnpack.conv_offset.weight" in tensors:
        offsets = tensors["pcd_align.cas_dcnpack.conv_offset.weight"].shape[0]
        alignment = AlignmentSize(
            offsets // _OFFSETS_PER_GROUP, _count(tensors, "feature_extraction.", 1)
        )
    return SwinXVRSize(
        channels=channels,
        features=features,
        embedded=tensors["norm.weight"].shape[0],
        window=window,
        depths=tuple(_count(tensors, f"layers.{s}.residual_group.blocks.", 4) for s in stages),
        heads=tuple(
            tensors[f"{_BLOCK.format(s, 0)}attn.relative_position_bias_table"].shape[1]
            for s in stages
        ),
        hidden=tensors[f"{first}mlp.fc1.weight"].shape[0],
        lr_frames=window[0] - _HR_FRAMES,
        alignment=alignment,
        projects="channel_projection.weight" in tensors,
        multi_output=any("_postfusion." in name for name in tensors),
    )


def _window(rows: int, tokens: int) -> tuple[int, int, int] | None:
    """Window of so many tokens whose bias table has so many rows; it is square in space."""
    for side in range(1, tokens + 1):
        slots, rest = divmod(tokens, side * side)
        if not rest and (2 * slots - 1) * (2 * side - 1) ** 2 == rows and slots > _HR_FRAMES:
            return (slots, side, side) if slots % 2 else None
    return None


def _count(tensors: Mapping[str, Tensor], prefix: str, place: int) -> int:
    return len({name.split(".")[place] for name in tensors if name.startswith(prefix)})
