"""Where in an image the filters of a path graph are active."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def filter_maps(subject: Any, images: Any, kept: Any) -> Tensor:
    """Maps [n, y, x] of the images: activity of the filters that kept connections end in, layers weighing the same.

    Parameters
    ----------
    subject : Subject
    images : Tensor[n, channel, y, x]
    kept : DataFrame
        Rows of the table of `path_intervention`: columns layer and child.

    Returns
    -------
    Tensor[n, y, x]
        Mean of the filters' positive pre-activations, up-sampled to the image, each layer scaled to a mean of 1.
    """
    inputs = subject.inputs(images)
    layers = list(dict.fromkeys(kept["layer"]))
    run = subject.run(inputs, record=layers, logits="none")
    size, total = inputs.main.shape[-2:], torch.zeros(())
    for layer in layers:
        chosen = sorted({int(c) for c in kept["child"][kept["layer"] == layer]})
        active = run[layer][:, chosen].relu().mean(1, keepdim=True)
        active = active / active.mean().clamp_min(1e-9)
        total = total + interpolate(active, size=size, mode="bilinear", align_corners=False)[:, 0] / len(layers)
    return total
