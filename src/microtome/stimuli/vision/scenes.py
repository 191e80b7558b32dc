"""Scenes: one object on a background, every concept drawn independently, every concept with its pixels."""

from dataclasses import replace

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.vision import draw

SHAPES = ("circle", "square", "triangle", "cross")
CONCEPTS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": ("red", "green", "blue", "yellow", "magenta", "cyan"),
    "texture": ("plain", "stripes", "dots", "checks"),
    "size": ("small", "medium", "large"),
    "place": ("top-left", "top-right", "bottom-left", "bottom-right", "centre"),
    "background": ("dark", "light", "gradient", "noise"),
}
_CENTRES = np.array([[11, 11], [11, 20], [20, 11], [20, 20], [15.5, 15.5]], dtype=np.float32)
_RADII = np.array([4.5, 6.5, 8.5], dtype=np.float32)


def scenes(n: int, seed: int = 0, *, watermark: float = 0.0) -> Stimuli:
    """Draw `n` scenes of 32 x 32 RGB pixels, labelled by shape.

    Each concept of `CONCEPTS` is uniform and independent of the others, so whatever tells one from the picture says
    nothing of another. A watermark in the lower right corner names the class on a share of the pictures.

    Parameters
    ----------
    n : number of scenes.
    seed : random stream.
    watermark : share of the pictures, in [0, 1], that carry the stamp of their own class; the rest carry none.

    Returns
    -------
    Stimuli of kind "image": inputs float32 [n, 3, 32, 32] in [0, 1]; table columns document, label (index into
    `SHAPES`), one per concept, watermark ("none" or the shape it names), x, y, radius (pixels); masks bool
    [n, 32, 32] for "object", "second-tone" (the darker pixels of a texture), "backdrop", "stamp", and "concept:value"
    for every value of every concept (empty where the scene does not show it).

    Raises
    ------
    UsageError
        `n` < 1 or `watermark` outside [0, 1].

    Notes
    -----
    Null: with `watermark=0` the corner holds no information on the class.
    Misleads when a mask is taken for the pixels a model must use: edges suffice for shape.

    Examples
    --------
    >>> stimuli = scenes(8, seed=1)
    >>> tuple(stimuli.inputs.shape), sorted(stimuli.table["shape"].unique()) <= sorted(SHAPES)
    ((8, 3, 32, 32), True)
    >>> bool((stimuli.masks["object"] ^ stimuli.masks["backdrop"]).all())
    True

    References
    ----------
    The watermark follows Lapuschkin et al. (2019), "Unmasking Clever Hans predictors".
    """
    if n < 1 or not 0.0 <= watermark <= 1.0:
        raise UsageError(f"scenes needs n >= 1 and watermark in [0, 1]; got n={n}, watermark={watermark}.")
    codes, pictures, inside, second = layers(n, seed)
    marked = rng(seed, "scenes", "watermark").random(n) < watermark
    marks = np.where(marked, codes["shape"], -1)
    stamped = draw.stamp_mask(marks)
    # A stamp lies on top: what it covers is no longer object, texture or background.
    masks = {"object": inside & ~stamped, "second-tone": second & inside & ~stamped, "backdrop": ~inside & ~stamped}
    masks["stamp"] = stamped
    for concept, values in CONCEPTS.items():
        region = masks["backdrop" if concept == "background" else "object"]
        for code, value in enumerate(values):
            masks[f"{concept}:{value}"] = region & (codes[concept] == code)[:, None, None]
    return Stimuli(
        inputs=torch.from_numpy(draw.stamp(pictures, marks)),
        table=_table(codes, marks),
        masks={name: torch.from_numpy(mask) for name, mask in masks.items()},
        kind="image",
        name="scenes",
    )


def pictures(n: int, seed: int = 0, *, watermark: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """The inputs and labels of `scenes` without table and masks: for training, at a tenth of the memory."""
    codes, drawn, _, _ = layers(n, seed)
    marked = rng(seed, "scenes", "watermark").random(n) < watermark
    stamped = draw.stamp(drawn, np.where(marked, codes["shape"], -1))
    return torch.from_numpy(stamped), torch.from_numpy(codes["shape"])


def watermarked(stimuli: Stimuli, marks: torch.Tensor) -> Stimuli:
    """The same scenes with the stamps `marks` (LongTensor[n], index into `SHAPES`) put on top.

    The counterfactual that shows whether a model reads the stamp or the object. Rows whose picture already carries a
    stamp get the new one.

    Examples
    --------
    >>> plain = scenes(4)
    >>> wrong = watermarked(plain, (torch.tensor(plain.table["label"].to_numpy()) + 1) % 4)
    >>> int((wrong.inputs != plain.inputs).any(1).sum(dim=(1, 2)).max()) <= 16
    True
    """
    if len(marks) != len(stimuli) or bool((marks < 0).any()) or bool((marks >= len(SHAPES)).any()):
        raise UsageError(f"watermarked needs one mark in 0..{len(SHAPES) - 1} per scene; {len(stimuli)} scenes.")
    codes = marks.numpy()
    covered = torch.from_numpy(draw.stamp_mask(codes))
    masks = {name: mask & ~covered for name, mask in stimuli.masks.items()} | {"stamp": covered}
    table = stimuli.table.assign(watermark=np.array(SHAPES, dtype=object)[codes])
    inputs = torch.from_numpy(draw.stamp(stimuli.inputs.numpy(), codes))
    return replace(stimuli, inputs=inputs, table=table, masks=masks)


def layers(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """What `scenes` is made of, without watermark: concept codes, pictures, object masks, second-tone patterns."""
    codes = {name: rng(seed, "scenes", name).integers(0, len(values), n) for name, values in CONCEPTS.items()}
    jitter = rng(seed, "scenes", "jitter").uniform(-1.0, 1.0, (n, 3)).astype(np.float32)
    codes["y"], codes["x"] = (_CENTRES[codes["place"]] + jitter[:, :2]).T
    codes["radius"] = _RADII[codes["size"]] + 0.5 * jitter[:, 2]
    inside = draw.object_mask(codes["shape"], codes["y"], codes["x"], codes["radius"])
    second = draw.texture_mask(codes["texture"], rng(seed, "scenes", "phase").integers(0, 4, n))
    noise = rng(seed, "scenes", "noise").random((n, draw.SIZE, draw.SIZE), dtype=np.float32)
    behind = draw.backdrop(codes["background"], noise)
    return codes, draw.paint(inside, second, codes["colour"], behind, noise), inside, second


def _table(codes: dict[str, np.ndarray], marks: np.ndarray):
    import pandas as pd

    columns = {"document": np.arange(len(marks)), "label": codes["shape"]}
    columns |= {name: np.array(values, dtype=object)[codes[name]] for name, values in CONCEPTS.items()}
    columns["watermark"] = np.array([*SHAPES, "none"], dtype=object)[marks]
    return pd.DataFrame(columns | {name: codes[name] for name in ("x", "y", "radius")})
