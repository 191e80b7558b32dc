"""Pixels and masks of a scene, as pure functions over whole batches (numpy, no randomness)."""

import numpy as np

SIZE = 32
RGB = np.array(
    [[0.90, 0.15, 0.15], [0.15, 0.75, 0.20], [0.20, 0.30, 0.95], [0.95, 0.85, 0.15], [0.85, 0.20, 0.85], [0.15, 0.80, 0.85]],
    dtype=np.float32,
)  # fmt: skip
"""Red, green, blue, yellow, magenta, cyan."""
SHADE = 0.45
"""How much darker the second tone of a texture is."""
STAMPS = np.array(
    [
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]],
        [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]],
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]],
        [[1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 1, 0]],
    ],
    dtype=bool,
)
"""One watermark per class, 4 x 4, in the lower right corner."""
CORNER = (slice(SIZE - 4, SIZE), slice(SIZE - 4, SIZE))


def grid() -> tuple[np.ndarray, np.ndarray]:
    """The y and x coordinates of the pixel centres, each [1, 32, 32]."""
    axis = np.arange(SIZE, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y[None], x[None]


def object_mask(shape: np.ndarray, cy: np.ndarray, cx: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The pixels of the object [n, 32, 32]: 0 circle, 1 square, 2 triangle, 3 cross.

    The extents are chosen so that the four shapes of one radius have similar areas: area alone must not tell the class.
    """
    y, x = grid()
    dy, dx, r = y - cy[:, None, None], x - cx[:, None, None], radius[:, None, None]
    ady, adx = np.abs(dy), np.abs(dx)
    circle = dy**2 + dx**2 <= r**2
    square = np.maximum(ady, adx) <= 0.88 * r
    triangle = (dy >= -1.15 * r) & (dy <= 1.05 * r) & (adx <= (dy + 1.15 * r) * 0.62)
    cross = ((adx <= 0.42 * r) & (ady <= 1.1 * r)) | ((ady <= 0.42 * r) & (adx <= 1.1 * r))
    return np.choose(shape[:, None, None], [circle, square, triangle, cross])


def texture_mask(texture: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Where the second tone goes [n, 32, 32]: 0 plain (nowhere), 1 stripes, 2 dots, 3 checks; period 4 pixels."""
    y, x = grid()
    y, x = (y + phase[:, None, None]).astype(int), (x + phase[:, None, None]).astype(int)
    stripes = (y + x) % 4 < 2
    dots = (y % 4 < 2) & (x % 4 < 2)
    checks = (y // 2 + x // 2) % 2 == 0
    return np.choose(texture[:, None, None], [np.zeros_like(stripes), stripes, dots, checks])


def backdrop(background: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Grey levels behind the object [n, 32, 32]: 0 dark, 1 light, 2 gradient, 3 noise; `noise` in [0, 1]."""
    y, _ = grid()
    flat = np.ones_like(noise)
    levels = [0.12 * flat, 0.80 * flat, 0.15 + 0.6 * (y / (SIZE - 1)) * flat, 0.2 + 0.5 * noise]
    return np.choose(background[:, None, None], levels)


def paint(
    inside: np.ndarray, second: np.ndarray, colour: np.ndarray, behind: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """The pictures [n, 3, 32, 32] in [0, 1]: coloured object with two tones over grey, and a little sensor noise."""
    tone = np.where(second, SHADE, 1.0)[:, None] * RGB[colour][:, :, None, None]
    picture = np.where(inside[:, None], tone, behind[:, None])
    return np.clip(picture + 0.04 * (noise[:, None] - 0.5), 0.0, 1.0).astype(np.float32)


def stamp(pictures: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """The pictures with watermark `marks[i]` (-1: none) in the lower right corner; the input is not changed."""
    out = pictures.copy()
    rows = np.flatnonzero(marks >= 0)
    out[rows, :, CORNER[0], CORNER[1]] = STAMPS[marks[rows]][:, None].astype(np.float32)
    return out


def stamp_mask(marks: np.ndarray) -> np.ndarray:
    """The pixels that a watermark covers [n, 32, 32]."""
    mask = np.zeros((len(marks), SIZE, SIZE), dtype=bool)
    mask[:, CORNER[0], CORNER[1]] = (marks >= 0)[:, None, None]
    return mask
