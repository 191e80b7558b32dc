"""Attention rollout."""

from typing import Any, Literal

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.mixers.layers import attention_layers
from microtome.attribute.mixers.mixing import rollout
from microtome.attribute.mixers.reading import read_maps
from microtome.errors import UsageError
from microtome.method import Paper, method

HEADS = {"mean": lambda a: a.mean(1), "max": lambda a: a.amax(1), "min": lambda a: a.amin(1)}


@method(
    question="attribute",
    paper=Paper("Abnar, Zuidema", 2020, "Quantifying Attention Flow in Transformers", "https://arxiv.org/abs/2005.00928"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, layers * positions^3",
    claim="Attention multiplied through the layers follows what tokens matter better than the attention of one layer.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That a token that is looked at is used: values, the sign of their effect and the MLPs are left out.",
)  # fmt: skip
def attention_rollout(
    subject: Any,
    task: Any,
    *,
    heads: Literal["mean", "max", "min"] = "mean",
    stream: float = 0.5,
    metric: str | None = None,
) -> Attribution:
    """Multiply the attention of all layers, each with a share for the residual stream.

    ``R = prod_l (s I + (1 - s) A_l)``, A_l the mean over heads, the last layer on the left; the row of the position that is
    read.

    Parameters
    ----------
    subject : Subject
        A transformer with one stack.
    task : Task
        Its metric says which position is read (the class token of image models; where all are pooled, the mean row).
    heads : {"mean", "max", "min"}
        How heads become one map (the paper's: mean). Rows of others are made to add up to 1.
    stream : float, default 0.5
        Share s of the residual stream (the paper's 0.5).
    metric : str, optional
        Default: the task's. The map does not depend on it.

    Returns
    -------
    Attribution
        Non-negative, rows that add up to 1, over positions.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: any causal network gives the own and the first positions more, whatever it learned. Compare with `subject.twin()`.
    Misleads when heads look at a token and copy nothing from it (first and separator tokens), and it cannot tell classes.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = attention_rollout(planted.subject, planted.task)
    >>> found.axes, round(float(found.values.sum(1).mean()), 4)
    (('batch', 'position'), 1.0)

    References
    ----------
    Abnar, Zuidema (2020). Quantifying Attention Flow in Transformers. https://arxiv.org/abs/2005.00928
    """
    if heads not in HEADS:
        raise UsageError(f"heads must be one of {sorted(HEADS)}, got {heads!r}.")
    if not 0 <= stream < 1:
        raise UsageError(f"stream must lie in [0, 1), got {stream!r}.")
    sites = [f"{one.path}attn.pattern" for one in attention_layers(subject)]

    def maps(values: dict[str, Tensor], _slopes: dict[str, Tensor], _mask: Tensor | None) -> Tensor:
        found = []
        for site in sites:
            one = HEADS[heads](values[site])
            one = one / one.sum(-1, keepdim=True).clamp(min=1e-12)
            found.append((1 - stream) * one + stream * torch.eye(one.shape[-1], dtype=one.dtype, device=one.device))
        return rollout(found)

    return read_maps(subject, task, maps, name="attention rollout", sites=sites, metric=metric,
                     settings={"heads": heads, "stream": stream})  # fmt: skip
