"""Images as PNG inside the page, and their overlays in two colours around zero."""

import base64
import struct
import zlib
from typing import Any

import numpy as np

from microtome.errors import ShapeError

#: Of a positive and of a negative overlay: the blue and the orange of the page.
POSITIVE, NEGATIVE = (38, 106, 191), (213, 94, 0)
LARGEST = 256


def png(pixels: np.ndarray) -> str:
    """RGB bytes [y, x, 3] as a data URI."""
    return "data:image/png;base64," + base64.b64encode(encoded(pixels)).decode("ascii")


def encoded(pixels: np.ndarray) -> bytes:
    """RGB bytes [y, x, 3] as the bytes of a PNG file."""
    high, wide, _ = pixels.shape
    lines = np.concatenate([np.zeros((high, 1), np.uint8), pixels.reshape(high, -1)], axis=1)  # filter 0 before each row
    header = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pixels(image: Any) -> np.ndarray:
    """Values 0..255 [y, x, 3] as bytes, thinned to at most 256 a side; what is not finite becomes 0.

    Raises
    ------
    ShapeError
        When the image is not [y, x, 3].
    """
    found = np.asarray(image, dtype=float)
    if found.ndim != 3 or found.shape[2] != 3 or 0 in found.shape:
        raise ShapeError(f"an image of a report must have shape [y, x, 3], got {list(found.shape)}.")
    every = -(-max(found.shape[:2]) // LARGEST)
    return np.nan_to_num(found[::every, ::every]).clip(0, 255).round().astype(np.uint8)


def overlaid(image: Any, overlay: Any) -> np.ndarray:
    """The image in grey under the overlay: blue where it is positive, orange where negative, grey where zero.

    Raises
    ------
    ShapeError
        When the overlay is not [y, x].
    """
    shown = pixels(image).astype(float)
    over = np.nan_to_num(np.asarray(overlay, dtype=float)).clip(-1, 1)
    if over.ndim != 2 or 0 in over.shape:
        raise ShapeError(f"an overlay of a report must have shape [y, x], got {list(over.shape)}.")
    y, x = (np.arange(n) * m // n for n, m in zip(shown.shape[:2], over.shape))
    over = over[y][:, x][..., None]  # nearest neighbour: a cell of the overlay is a block of the image
    grey = shown.mean(axis=2, keepdims=True) * 0.6 + 80
    colour = np.where(over > 0, np.array(POSITIVE, float), np.array(NEGATIVE, float))
    share = 0.85 * np.abs(over)
    return (grey * (1 - share) + colour * share).round().astype(np.uint8)
