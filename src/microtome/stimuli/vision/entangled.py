"""Pictures in which what an object is and what it is made of go together, but not always."""

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.vision import draw

KINDS = 4


def entangled(n: int, seed: int = 0, *, link: float = 0.8) -> Stimuli:
    """One object on a dark ground, whose shape and skin (a colour with a texture) are linked.

    Parameters
    ----------
    n : pictures.
    seed : random stream.
    link : in [0, 1], share of the pictures whose skin is that of their shape; the others have one drawn at random. It is
        Cramer's V of shape and skin.

    Returns
    -------
    Stimuli of kind "image": inputs float32 [n, 3, 32, 32] in [0, 1]; table columns label and shape (0 circle, 1 square,
    2 triangle, 3 cross), skin (0 red plain, 1 green stripes, 2 blue dots, 3 yellow checks); mask "object".

    Raises
    ------
    UsageError
        `n` < 1 or `link` outside [0, 1].

    Notes
    -----
    Null: with ``link=0`` neither says anything of the other.
    Misleads when the skin is taken for colour alone: its texture shows in edges too.

    Examples
    --------
    >>> s = entangled(400)
    >>> 0.75 < float((s.table["shape"] == s.table["skin"]).mean()) < 0.95
    True

    References
    ----------
    What Makes a Face Look like a Hat: Decoupling Low-level and High-level Visual Properties with Image Triplets (2024).
    https://arxiv.org/abs/2409.02241
    """
    import pandas as pd

    if n < 1 or not 0.0 <= link <= 1.0:
        raise UsageError(f"entangled needs n >= 1 and link in [0, 1]; got n={n}, link={link}.")
    g = rng(seed, "entangled")
    shape, other = g.integers(KINDS, size=(2, n))
    skin = np.where(g.random(n) < link, shape, other)
    y, x = g.uniform(12, 19, (2, n)).astype(np.float32)
    inside = draw.object_mask(shape, y, x, g.uniform(7, 9, n).astype(np.float32))
    second = draw.texture_mask(skin, g.integers(4, size=n)) & inside
    noise = g.random((n, draw.SIZE, draw.SIZE), dtype=np.float32)
    image = draw.paint(inside, second, skin, draw.backdrop(np.zeros(n, dtype=int), noise), noise)
    table = pd.DataFrame({"label": shape, "shape": shape, "skin": skin})
    return Stimuli(torch.from_numpy(image), table, masks={"object": torch.from_numpy(inside)}, kind="image", name="entangled")
