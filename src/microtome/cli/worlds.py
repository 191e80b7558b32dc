"""Pictures of which it is known where the evidence lies, named on the command line."""

from pathlib import Path
from typing import Any

from microtome.errors import Degenerate, ShapeError, UsageError, nearest

#: Worlds that are made here, and the mask that is meant where none is named.
WORLDS = {"scenes": "object", "mosaics": "signal"}
#: Scenes that the pictures of a mosaic are drawn from.
POOL = 200


def world(subject: Any, name: str, mask: str | None, seed: int, prompts: int) -> tuple[Any, Any, str]:
    """The task of a world, true where its evidence lies [n, y, x], and which masks these are.

    Raises
    ------
    UsageError
        No such world, file or mask; names those there are.
    ShapeError
        The subject does not take such pictures.
    Degenerate
        The pictures have one class.
    """
    import numpy as np
    import torch

    from microtome.rng import rng
    from microtome.stimuli.task import Task

    shown = _stimuli(name, seed, prompts)
    chosen = mask or WORLDS.get(name, "signal")
    if chosen not in shown.masks:
        known = ", ".join(list(shown.masks)[:8]) or "none"
        raise UsageError(f"'{name}' has no mask '{chosen}'; it has {known}.{nearest(chosen, shown.masks)}")
    if "label" not in shown.table:
        raise UsageError(f"'{name}' has no labels: it needs an array 'labels' with the class of each image.")
    labels = shown.table["label"].to_numpy().astype(np.int64)
    if len(set(labels.tolist())) < 2:
        raise Degenerate(f"the pictures of '{name}' have one class; ask for more with --prompts.")
    stream = rng(seed, "world pairs")
    other = np.array([stream.choice(np.flatnonzero(labels != label)) for label in labels])
    x, masks = shown.inputs, shown.masks[chosen]
    kept = masks.flatten(1).any(1) & ~masks.flatten(1).all(1)
    if not bool(kept.any()):
        raise Degenerate(f"the mask '{chosen}' of '{name}' is empty or covers everything on all pictures: nothing to locate.")
    try:
        subject.run(x[:1], logits="all")
    except (ValueError, RuntimeError) as error:
        size = f"{x.shape[1]} channels of {x.shape[2]} x {x.shape[3]}"
        raise ShapeError(f"{subject.name} does not take the pictures of '{name}', {size}: {error}") from error
    task = Task(name if name in WORLDS else Path(name).stem, x, x[torch.from_numpy(other)], torch.from_numpy(labels),
                torch.from_numpy(labels[other]), kind="image", groups=list(range(len(x))))  # fmt: skip
    rows = kept.nonzero().flatten().tolist()
    return task[rows], masks[kept], f"{chosen} of {name}"


def _stimuli(name: str, seed: int, prompts: int) -> Any:
    from microtome.stimuli import images
    from microtome.stimuli.vision import scenes
    from microtome.stimuli.vision.worlds import mosaics

    if name == "scenes":
        return scenes(prompts, seed)
    if name == "mosaics":
        return mosaics(scenes(POOL, seed), prompts, seed)
    path = Path(name)
    if not path.is_file() or path.suffix != ".npz":
        raise UsageError(f"no world '{name}': it is one of {', '.join(WORLDS)}, or an .npz file.{nearest(name, WORLDS)}")
    return images(path)[:prompts]
