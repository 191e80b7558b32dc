"""Hidden tokens in the space of classes: the head of an image classifier applied to any token of any block."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import NonFinite, SiteError
from microtome.subject.edit import Edit
from microtome.subject.replay import head_of


def projected(subject: Any, hidden: Tensor) -> Tensor:
    """``E N(h)`` [..., classes] of hidden tokens [..., width]: final norm recomputed, the head without its bias."""
    logits = subject.unembed(hidden)
    bias = getattr(head_of(subject), "bias", None)
    return logits if bias is None else logits - bias.detach()


def ranks(logits: Tensor, classes: Tensor) -> Tensor:
    """Identifiability ``1 - rank / (C - 1)`` of each example's class [n, ...] in logits [n, ..., C]; ties by half."""
    shape = [len(classes), *[1] * (logits.ndim - 1)]
    own = logits.gather(-1, classes.reshape(shape).expand(*logits.shape[:-1], 1))
    above = (logits > own).sum(-1) + 0.5 * ((logits == own).sum(-1) - 1)
    return 1 - above / (logits.shape[-1] - 1)


def stream_sites(subject: Any) -> list[str]:
    """The residual stream from the first block to the last: before, between and behind sublayers.

    Raises
    ------
    SiteError
        Where there is no residual stream.
    """
    found = [s.name for s in subject.sites("*blocks.*.resid_*")]
    names = [n for n in found if n.endswith(("resid_mid", "resid_post")) or n.endswith("blocks.0.resid_pre")]
    if not names:
        raise SiteError(f"{subject.name} has no residual stream to project; class embeddings need a transformer with a head.")
    order = {"resid_pre": 0, "resid_mid": 1, "resid_post": 2}
    return sorted(names, key=lambda n: (subject.site(n).block or 0, order[n.rpartition(".")[2]]))


def class_logits(subject: Any, inputs: Any, sites: Sequence[str], edits: Sequence[Edit] = ()) -> dict[str, Tensor]:
    """Projected logits [n, position, classes] at each site."""
    run = subject.run(inputs, record=list(sites), edits=edits, logits="none")
    found = {site: projected(subject, run[site]).cpu() for site in sites}
    for site, logits in found.items():
        if not torch.isfinite(logits).all():
            raise NonFinite(f"projected logits at {site} hold NaN or infinity; check the weights of the network.")
    return found


def split_tokens(length: int, read: Tensor | None, real: Tensor | None) -> dict[str, np.ndarray]:
    """Which tokens [n, length] are read (the class token, the last of a text) and which are others."""
    n = len(read) if read is not None else len(real) if real is not None else 1
    every = np.ones((n, length), dtype=bool) if real is None else real.numpy().astype(bool)
    own = np.zeros_like(every)
    if read is not None:
        own[np.arange(n), read.numpy()] = True
    kinds = {"read": own & every, "other": ~own & every}
    return {name: which for name, which in kinds.items() if which.any()}


def mean_over(values: Tensor, which: np.ndarray) -> np.ndarray:
    """Mean over the chosen tokens of each example [n] of values [n, length]."""
    mask = torch.from_numpy(np.broadcast_to(which, tuple(values.shape)).copy())
    return ((values * mask).sum(1) / mask.sum(1).clamp(min=1)).double().numpy()
