"""Methods that decode: a planted property must be read off a recording, a planted answer off a network."""

import numpy as np
import torch

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.labelled import label_refusals, labelled_world, lens_world
from microtome.testing.families.networks import network_refusals
from microtome.testing.planted import Planted, auroc

#: AUROC of the reading for the property; share of prompts whose answer is read.
PLANTED = 0.9


def tiny(method: Method, seed: int) -> World:
    """A planted property, or, for methods on a subject, a network that copies a token."""
    return lens_world(seed) if "subject" in method.needs else labelled_world(seed)


def null(method: Method, seed: int) -> World:
    """Data that do not show the property; a network of fresh weights."""
    return (lens_world if "subject" in method.needs else labelled_world)(seed, structured=False)


def truth(method: Method, result, world: World) -> float:
    """How well the reading tells the planted property, or the planted answer."""
    planted = world.truth["planted"]
    if not isinstance(planted, Planted):
        return _answers(result, planted)
    with torch.no_grad():
        codes = result.encode(planted.recording.matrix()).double().cpu().numpy()
    scores = [auroc(column, planted.labels) for column in codes.reshape(len(codes), -1).T]
    return float(max(max(s, 1 - s) for s in scores))


def _answers(result, planted) -> float:
    """Share of prompts whose answer a lens puts first at the last position of the last block."""
    logits = torch.as_tensor(getattr(result, "logits", getattr(result, "values", None)))
    last = logits.reshape(-1, *logits.shape[-3:])[-1][:, -1] if logits.ndim >= 3 else logits
    return float(np.mean((last.argmax(-1).cpu() == planted.task.answers).numpy()))


def refusals(method: Method) -> list[Refusal]:
    """Wrong labels; wrong sites and seeds."""
    return network_refusals(method) if "subject" in method.needs else label_refusals(method)
