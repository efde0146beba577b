"""Size of an EDVR network, told by the layers of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from xfusion_bluesky.nn.architectures import described, is_edvr, is_edvr_stf
from xfusion_bluesky.nn.checkpoints import Checkpoint, CheckpointError
from xfusion_bluesky.nn.encoder import AlignmentSize
from xfusion_edvr.network import EDVRSize

__all__ = ["size_of"]

_OFFSETS_PER_GROUP = 27
_HR_FRAMES = 2


def size_of(checkpoint: Checkpoint, *, takes_hr: bool) -> EDVRSize:
    """Return the size of the network that a checkpoint belongs to.

    Parameters
    ----------
    checkpoint : Checkpoint
        Any.
    takes_hr : bool
        Whether EDVR-STF is wanted, or EDVR without HR frames.

    Raises
    ------
    CheckpointError
        If it belongs to another network, or one for other images.
    """
    tensors, path = checkpoint.tensors, checkpoint.path
    wanted = "EDVR-STF" if takes_hr else "EDVR without HR frames"
    if not (is_edvr_stf if takes_hr else is_edvr)(tensors):
        raise CheckpointError(
            f"{path} does not hold {wanted} but {described(tensors)}; give another checkpoint, or "
            f"take that backend"
        )
    if any(name.startswith("predeblur.") or name == "conv_1x1.weight" for name in tensors):
        raise CheckpointError(f"{path} holds EDVR with deblurring, which is not supported")
    try:
        size = _size(tensors, takes_hr)
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"{path} holds {wanted} without the layer {error}: it is not complete; copy it again"
        ) from error
    if size.channels != 1:
        raise CheckpointError(
            f"{path} holds {wanted} for images of {size.channels} channels (colour); x-ray frames "
            f"have one: give a checkpoint that was trained with num_in_ch 1"
        )
    if size.lr_frames < 1 or size.lr_frames % 2 == 0:
        raise CheckpointError(
            f"{path} holds {wanted} for {size.lr_frames} LR frames; an odd number is needed, with "
            f"the target in the middle"
        )
    return size


def _size(tensors: Mapping[str, Tensor], takes_hr: bool) -> EDVRSize:
    features, channels = tensors["conv_first.weight"].shape[:2]
    attends = "fusion.feat_fusion.weight" in tensors
    fused = tensors["fusion.feat_fusion.weight" if attends else "fusion.weight"].shape[1]
    hr_frames = _HR_FRAMES if takes_hr else 0
    offsets = tensors["pcd_align.cas_dcnpack.conv_offset.weight"].shape[0]
    return EDVRSize(
        channels=channels,
        features=features,
        lr_frames=fused // features - hr_frames,
        hr_frames=hr_frames,
        alignment=AlignmentSize(
            offsets // _OFFSETS_PER_GROUP, _count(tensors, "feature_extraction")
        ),
        reconstruct_blocks=_count(tensors, "reconstruction"),
        attends=attends,
    )


def _count(tensors: Mapping[str, Tensor], of: str) -> int:
    prefix = f"{of}."
    return len({name.split(".")[1] for name in tensors if name.startswith(prefix)})
