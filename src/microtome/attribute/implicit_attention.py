"""Implicit attention: any token mixer as attention, weighted by gradients and rolled out."""

from typing import Any, Literal

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.mixers.layers import layers, mixing, recorded
from microtome.attribute.mixers.mixing import rollout, shares
from microtome.attribute.mixers.reading import read_maps
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Zimerman, Ali, Wolf", 2024, "A Unified Implicit Attention Formulation for Gated-Linear Recurrent Sequence "
                "Models", "https://arxiv.org/abs/2405.16504"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward, layers * channels * positions^2 * states",
    claim="The whole mixer as a matrix, with convolution and gates, locates what an output needs at least as well as the "
    "recurrence alone.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="What speaks against the output (negative parts are dropped), and what channels do apart (they are averaged).",
)  # fmt: skip
def implicit_attention(
    subject: Any,
    task: Any,
    *,
    part: Literal["mixer", "recurrence"] = "mixer",
    weigh: bool = True,
    metric: str | None = None,
) -> Attribution:
    """Write every mixer as a matrix over tokens, weigh its sources with gradients, and roll out.

    ``H = diag(gate) S diag(act(c) / c) M`` per channel (Mamba: M the convolution, S the selective scan with its skip); ``A_ij
    = mean_c max(0, H_c[i, j]) s_j``, ``s_j = max_d max(0, dm/dx_jd)`` of the mixer's input scaled to [0, 1]; ``prod_l
    norm(I + A_l)``, the row of the position that is read.

    Parameters
    ----------
    subject : Subject
        Mamba, Mamba-2, RWKV-4, RG-LRU (Griffin), or attention.
    task : Task
        Its metric is what is differentiated, and says which position is read.
    part : {"mixer", "recurrence"}
        "recurrence" leaves out convolution and gates: the earlier hidden attention of Mamba (Ali et al. 2024).
    weigh : bool, default True
        Whether sources are weighted with gradients; without, it is the rollout of the bare maps.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        Non-negative, rows that add up to 1, over positions.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: decays make late positions strong in a random network as well. Compare with `subject.twin()`.
    Misleads when large entries multiply tiny inputs: the map is of weights, not of what they carry (see `latim`).

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = implicit_attention(planted.subject, planted.task)
    >>> found.axes, round(float(found.values.sum(1).mean()), 4)
    (('batch', 'position'), 1.0)

    References
    ----------
    Zimerman, Ali, Wolf (2024). A Unified Implicit Attention Formulation for Gated-Linear Recurrent Sequence Models.
    https://arxiv.org/abs/2405.16504
    Ali, Zimerman, Wolf (2024). The Hidden Attention of Mamba Models. https://arxiv.org/abs/2403.01590
    """
    if part not in ("mixer", "recurrence"):
        raise UsageError(f'part must be "mixer" or "recurrence", got {part!r}.')
    chosen = layers(subject)
    entries = [subject.site(one.input).name for one in chosen]

    def maps(values: dict[str, Tensor], slopes: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        found = []
        for one, entry in zip(chosen, entries):
            whole = mixing(subject, one, values, mask)
            matrix = (whole if part == "mixer" else whole.recurrence()).matrix.clamp(min=0).mean(1)
            if weigh:
                matrix = matrix * unit_range(slopes[entry].clamp(min=0).amax(-1))[:, None]
            found.append(shares(matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)))
        return rollout(found)

    sites = list(dict.fromkeys(s for one in chosen for s in recorded(subject, one)))
    name = "implicit attention" if part == "mixer" else "hidden attention"
    return read_maps(subject, task, maps, name=name, sites=sites, slopes=entries if weigh else None, metric=metric,
                     settings={"part": part, "weigh": weigh})  # fmt: skip


def unit_range(weights: Tensor) -> Tensor:
    """Each example's weights [n, position] from 0 to 1; zeros where they are all the same."""
    low, high = weights.amin(-1, keepdim=True), weights.amax(-1, keepdim=True)
    return (weights - low) / (high - low).clamp(min=torch.finfo(weights.dtype).tiny)
