"""Gradient times attention, multiplied through the layers."""

from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.mixers.layers import attention_layers
from microtome.attribute.mixers.mixing import rollout
from microtome.attribute.mixers.reading import read_maps
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Chefer, Gur, Wolf", 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and "
                "Encoder-Decoder Transformers", "https://arxiv.org/abs/2103.15679"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward, layers * positions^3",
    claim="Attention weighted with its gradient finds the tokens that an output needs better than attention alone.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="What speaks against the output: negative parts are dropped. Values and MLPs enter by the gradient only.",
)  # fmt: skip
def gradient_attention(subject: Any, task: Any, *, metric: str | None = None) -> Attribution:
    """Weigh every head's attention with the gradient of the metric there, and multiply through the layers.

    ``A'_l = mean_h max(0, A_h * dm/dA_h)``, ``R <- R + A'_l R`` from the first layer on, R = I at the start; the row of the
    position that is read. The position's own 1 from the start is left out.

    Parameters
    ----------
    subject : Subject
        A transformer with one stack.
    task : Task
        Its metric is what is differentiated, and says which position is read.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        Non-negative, over positions.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: positive parts of random products: a random network has positive maps as well. Compare with `subject.twin()`.
    Misleads when the output saturates (no gradient, no map), and when what matters speaks against the output.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = gradient_attention(planted.subject, planted.task)
    >>> bool((found.values.argmax(1) == planted.position).all())
    True

    References
    ----------
    Chefer, Gur, Wolf (2021). Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers. https://arxiv.org/abs/2103.15679
    """
    sites = [f"{one.path}attn.pattern" for one in attention_layers(subject)]

    def maps(values: dict[str, Tensor], slopes: dict[str, Tensor], _mask: Tensor | None) -> Tensor:
        weighed = [(values[s] * slopes[s]).clamp(min=0).mean(1) for s in sites]
        eye = torch.eye(weighed[0].shape[-1], dtype=weighed[0].dtype, device=weighed[0].device)
        return rollout([eye + one for one in weighed]) - eye

    return read_maps(subject, task, maps, name="gradient attention", sites=sites, slopes=sites, metric=metric)
