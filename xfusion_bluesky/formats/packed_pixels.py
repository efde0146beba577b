"""Pixels of 10 or 12 bits in a row, without gaps, most significant bits first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["pack_10", "pack_12", "unpack_10", "unpack_12"]

UInt16Array = npt.NDArray[np.uint16]


def unpack_12(data: bytes, shape: tuple[int, int]) -> UInt16Array:
    """Return an image from its packed pixels: two in three bytes.

    Parameters
    ----------
    data : bytes
        At least 12 bits a pixel.
    shape : (int, int)
        Height and width.
    """
    three = _groups(data, 3)
    pixels = np.stack(
        [three[:, 0] << 4 | three[:, 1] >> 4, (three[:, 1] & 15) << 8 | three[:, 2]], axis=1
    )
    return _image(pixels, shape)


def unpack_10(data: bytes, shape: tuple[int, int]) -> UInt16Array:
    """Return an image from its packed pixels: four in five bytes; parameters as `unpack_12`."""
    five = _groups(data, 5)
    pixels = np.stack(
        [(five[:, k] << (2 * k + 2) | five[:, k + 1] >> (6 - 2 * k)) & 0x3FF for k in range(4)],
        axis=1,
    )
    return _image(pixels, shape)


def pack_12(image: UInt16Array) -> bytes:
    """Return what `unpack_12` turns into `image`, (H, W) below 4096."""
    pairs = _filled(image, 2)
    a, b = pairs[:, 0], pairs[:, 1]
    packed = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], axis=1).astype(np.uint8)
    return packed.tobytes()[: -(-image.size * 12 // 8)]


def pack_10(image: UInt16Array) -> bytes:
    """Return what `unpack_10` turns into `image`, (H, W) below 1024."""
    four = _filled(image, 4).astype(np.uint64)
    whole = four[:, 0] << 30 | four[:, 1] << 20 | four[:, 2] << 10 | four[:, 3]
    packed = np.stack([whole >> np.uint64(8 * k) & 255 for k in range(4, -1, -1)], axis=1)
    return packed.astype(np.uint8).tobytes()[: -(-image.size * 10 // 8)]


def _groups(data: bytes, size: int) -> UInt16Array:
    filled = data + bytes(-len(data) % size)
    return np.frombuffer(filled, dtype=np.uint8).reshape(-1, size).astype(np.uint16)


def _filled(image: UInt16Array, size: int) -> UInt16Array:
    flat = image.ravel()
    return np.concatenate([flat, np.zeros(-flat.size % size, dtype=np.uint16)]).reshape(-1, size)


def _image(pixels: UInt16Array, shape: tuple[int, int]) -> UInt16Array:
    return np.ascontiguousarray(pixels.ravel()[: shape[0] * shape[1]].reshape(shape))
