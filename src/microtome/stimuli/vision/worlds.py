"""Pictures that show where the evidence is: a map is right or wrong on them, and it is known which."""

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli

#: Side of a digit.
DIGIT = 8
PETALS = 4


def blocks(n: int, seed: int = 0, *, classes: tuple[int, ...] = (0, 1), top: bool = False, half: str = "train") -> Stimuli:
    """Two blocks above each other: a handwritten digit, which gives the class, and a fixed square, which says nothing.

    Parameters
    ----------
    n : pictures.
    seed : random stream.
    classes : digits that occur; the label is the index of the digit in it.
    top : whether the digit is always above (the control: one place, no leak from other pictures), or by a fair coin.
    half : "train" or "test": which half of the digits is drawn from.

    Returns
    -------
    Stimuli of kind "image": inputs float32 [n, 1, 16, 8] in [0, 1]; table column label; masks "signal", "null" (the blocks).

    Raises
    ------
    UsageError
        Sizes out of range, unknown digits.

    Notes
    -----
    Null: the square is one and the same in every picture.
    Misleads when attributions to the digit's empty corners are taken for errors: the block is the signal.

    Examples
    --------
    >>> s = blocks(4)
    >>> tuple(s.inputs.shape), int(s.masks["signal"][0].sum()), bool((s.masks["signal"] ^ s.masks["null"]).all())
    ((4, 1, 16, 8), 64, True)

    References
    ----------
    Shah, Jain, Netrapalli (2021). Do Input Gradients Highlight Discriminative Features? https://arxiv.org/abs/2102.12781
    """
    g = rng(seed, "blocks")
    digit, label = _digits(n, classes, half, g)
    square = np.zeros((DIGIT, DIGIT), dtype=np.float32)
    square[1:-1, 1:-1] = 1.0
    square[2:-2, 2:-2] = 0.0
    above = np.ones(n, dtype=bool) if top else g.random(n) < 0.5
    first = np.where(above[:, None, None], digit, square)
    second = np.where(above[:, None, None], square, digit)
    signal = np.zeros((n, 2 * DIGIT, DIGIT), dtype=bool)
    signal[above, :DIGIT], signal[~above, DIGIT:] = True, True
    return _pictures(np.concatenate([first, second], axis=1), label, {"signal": signal, "null": ~signal}, "blocks")


def panels(n: int, seed: int = 0, *, classes: tuple[int, ...] = tuple(range(10)), half: str = "train") -> Stimuli:
    """Two panels side by side: a digit, which gives the class, and another one with its pixels shuffled.

    The shuffled panel has the brightness of a digit, so that only its order tells the panels apart. Parameters as in `blocks`;
    inputs [n, 1, 8, 16], masks "signal", "null".

    Examples
    --------
    >>> tuple(panels(3).inputs.shape)
    (3, 1, 8, 16)

    References
    ----------
    Senetaire, Garreau, Frellsen, Mattei (2023). Explainability as statistical inference. https://arxiv.org/abs/2212.03131
    """
    g = rng(seed, "panels")
    digit, label = _digits(n, classes, half, g)
    other = _digits(n, classes, half, g)[0].reshape(n, -1)
    shuffled = np.take_along_axis(other, g.random(other.shape).argsort(1), 1).reshape(digit.shape)
    left = g.random(n) < 0.5
    side = left[:, None, None]
    image = np.concatenate([np.where(side, digit, shuffled), np.where(side, shuffled, digit)], axis=2)
    signal = np.zeros(image.shape, dtype=bool)
    signal[left, :, :DIGIT], signal[~left, :, DIGIT:] = True, True
    return _pictures(image, label, {"signal": signal, "null": ~signal}, "panels")


def coloured_part(n: int, seed: int = 0, *, side: int = 24) -> Stimuli:
    """A flower of four petals on noise, all grey but one, whose colour gives the class.

    Which petal it is, and where the flower stands, is drawn at random and says nothing.

    Parameters
    ----------
    n : pictures.
    seed : random stream.
    side : pixels, at least 18.

    Returns
    -------
    Stimuli of kind "image": inputs float32 [n, 3, side, side] in [0, 1]; table columns label (0 red, 1 green, 2 blue) and
    petal; masks "part" (the coloured petal), "object" (the flower), "backdrop".

    Examples
    --------
    >>> s = coloured_part(5)
    >>> bool((s.masks["part"] <= s.masks["object"]).all()), bool(s.masks["part"].any(-1).any(-1).all())
    (True, True)

    References
    ----------
    Oramas, Wang, Tuytelaars (2019). Visual Explanation by Interpretation (an8Flower). https://arxiv.org/abs/1712.06302
    """
    if n < 1 or side < 18:
        raise UsageError(f"coloured_part needs n >= 1 and side >= 18; got {n} and {side}.")
    g = rng(seed, "coloured part")
    label, petal = g.integers(3, size=n), g.integers(PETALS, size=n)
    centre = g.uniform(8, side - 9, (n, 2))
    y, x = np.indices((side, side))[:, None] - centre.T[:, :, None, None]
    turn = g.uniform(0, np.pi / 2, (n, 1))
    angle = turn + np.arange(PETALS) * np.pi / 2  # [n, petals]
    inside = np.stack([(y - 4.5 * np.sin(a)) ** 2 + (x - 4.5 * np.cos(a)) ** 2 <= 2.6**2
                       for a in angle.T[:, :, None, None]], axis=1)  # fmt: skip
    part = inside[np.arange(n), petal]
    whole = inside.any(axis=1)
    image = g.uniform(0.0, 0.4, (n, 3, side, side))
    image = np.where(whole[:, None], 0.6, image)
    colour = np.where(np.arange(3) == label[:, None], 0.9, 0.3)
    image = np.where(part[:, None], colour[:, :, None, None], image)
    return _pictures(image, label, {"part": part, "object": whole, "backdrop": ~whole}, "coloured part", petal=petal)


def mosaics(stimuli: Stimuli, n: int, seed: int = 0, *, label: str = "label") -> Stimuli:
    """Four pictures of four classes in a grid (the grid pointing game): a class's evidence lies in its quarter.

    Parameters
    ----------
    stimuli : Stimuli of kind "image"
        With at least four classes.
    n : mosaics.
    seed : random stream.
    label : column of the class.

    Returns
    -------
    Stimuli of kind "image": inputs [n, channel, 2 y, 2 x]; table column label, the asked class, which stands in a random
    quarter; masks "signal" (its quarter) and "class:k" for every class.

    Raises
    ------
    UsageError
        For texts, or fewer than four classes.

    Examples
    --------
    >>> from microtome.stimuli.vision import scenes
    >>> s = mosaics(scenes(40), 6)
    >>> tuple(s.inputs.shape), int(s.masks["signal"][0].sum())
    ((6, 3, 64, 64), 1024)

    References
    ----------
    Boehle, Fritz, Schiele (2021). Convolutional Dynamic Alignment Networks. https://arxiv.org/abs/2104.00032
    """
    if stimuli.kind != "image" or n < 1:
        raise UsageError(f"mosaics are made of images, n >= 1; got {stimuli.kind} and {n}.")
    labels = stimuli.table[label].to_numpy()
    kinds = np.unique(labels)
    if len(kinds) < 4:
        raise UsageError(f"a mosaic needs pictures of four classes, '{label}' has {len(kinds)}.")
    g = rng(seed, "mosaics")
    members = {k: np.flatnonzero(labels == k) for k in kinds}
    chosen = np.stack([g.permutation(kinds)[:4] for _ in range(n)])
    rows = np.array([[g.choice(members[k]) for k in row] for row in chosen])
    parts = stimuli.inputs[torch.from_numpy(rows.ravel())]  # type: ignore[index]
    c, h, w = parts.shape[1:]
    grid = parts.view(n, 2, 2, c, h, w).permute(0, 3, 1, 4, 2, 5).reshape(n, c, 2 * h, 2 * w)
    quarter = np.kron(np.arange(4).reshape(2, 2), np.ones((h, w), dtype=int))
    where = {k: (chosen[:, quarter] == k) for k in kinds}
    asked = g.integers(4, size=n)
    masks = {"signal": quarter == asked[:, None, None], **{f"class:{k}": m for k, m in where.items()}}
    return _pictures(grid.numpy(), chosen[np.arange(n), asked], masks, f"mosaics of {stimuli.name}")


def _digits(n: int, classes: tuple[int, ...], half: str, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Digits [n, 8, 8] in [0, 1] from one half of scikit-learn's, classes equally likely, and their labels."""
    from sklearn.datasets import load_digits

    if n < 1 or half not in ("train", "test") or len(set(classes)) < 2 or not set(classes) <= set(range(10)):
        raise UsageError(f"digits need n >= 1, two classes of 0..9 and half 'train' or 'test'; got {n}, {classes}, {half!r}.")
    data = load_digits()
    label = g.integers(len(classes), size=n)
    pool = [np.flatnonzero(data.target == c)[(0 if half == "train" else 1) :: 2] for c in classes]
    rows = np.array([pool[k][int(g.integers(len(pool[k])))] for k in label])
    return (data.images[rows] / 16).astype(np.float32), label


def _pictures(image: np.ndarray, label: np.ndarray, masks: dict[str, np.ndarray], name: str, **columns: np.ndarray) -> Stimuli:
    import pandas as pd

    image = image[:, None] if image.ndim == 3 else image
    truth = {key: torch.from_numpy(np.ascontiguousarray(mask)) for key, mask in masks.items()}
    table = pd.DataFrame({"label": label, **columns})
    return Stimuli(torch.from_numpy(image.astype(np.float32)), table, masks=truth, kind="image", name=name)
