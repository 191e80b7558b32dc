"""Attribution patching: all effects at once, to first order."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.method import Paper, method
from microtome.subject.gradients import gradients
from microtome.trace.effects import Effects
from microtome.trace.nodes import Kind, Node, as_nodes


@method(
    question="trace",
    paper=Paper("Syed, Rager, Conmy", 2023, "Attribution Patching Outperforms Automated Circuit Discovery",
                "https://arxiv.org/abs/2310.10348"),
    needs=("subject", "task", "gradients"),
    gives="Effects",
    stochastic=True,
    cost="two forwards and one backward for all nodes together",
    claim="First-order effects rank nodes almost as exact patching does, at the cost of one backward.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="Exact effects: saturation hides nodes whose gradient is flat. Check the largest with activation_patching.",
    tiny={"nodes": "layer"},
)  # fmt: skip
def attribution_patching(
    subject: Any,
    task: Any,
    *,
    nodes: "Kind | Iterable[Node | str]" = "layer_position",
    metric: str | None = None,
    steps: int = 1,
    seed: int = 0,
) -> Effects:
    """Approximate the denoising effect of every node by a gradient.

    ``effect(node) ~ (x_clean - x_corrupt)[node] . d m / d x at x_corrupt``; with `steps` > 1 the gradient is averaged along
    the line between corrupt and clean embeddings (EAP-IG, inputs).

    Parameters
    ----------
    subject : Subject
    task : Task
    nodes : str or iterable of Node
        As in `activation_patching`.
    metric : str, optional
        Default: the task's.
    steps : int, default 1
        Points of the average; 5 is usual for the integrated form.
    seed : int, default 0
        Of the intervals.

    Returns
    -------
    Effects
        With ``exact=False``; compare with `agreement`.

    Raises
    ------
    Degenerate
        When clean and corrupt metrics do not differ.

    Notes
    -----
    Null: in a network with random weights no node has a consistent effect.
    Misleads when attention saturates or a norm dominates: large exact effects can have small gradients. `steps` helps.

    Examples
    --------
    >>> import microtome as mt                                                               # doctest: +SKIP
    >>> mt.trace.attribution_patching(subject, task, nodes="head").table                      # doctest: +SKIP

    References
    ----------
    Syed, Rager, Conmy (2023). Attribution Patching Outperforms Automated Circuit Discovery. https://arxiv.org/abs/2310.10348
    """
    bound = subject.bind(task, metric=metric)
    wanted = as_nodes(subject, nodes, int(bound.inputs.lengths.min()) if bound.metric.positions is not None else 0)
    sites = sorted({subject.site(n.site).name for n in wanted})
    m_clean, _, clean = gradients(subject, bound.inputs, sites, bound.metric)
    m_corrupt, grads, corrupt = gradients(subject, bound.corrupt, sites, bound.metric)
    if steps > 1:
        grads = _averaged(subject, bound, sites, grads, steps)
    change = np.stack([_dot(clean[n.site] - corrupt[n.site], grads[n.site], n, subject, bound) for n in wanted])
    return Effects(
        wanted, change, (m_clean - m_corrupt).double().cpu().numpy(), np.asarray(bound.groups),
        "attribution patching" + (f" ({steps} steps)" if steps > 1 else ""), bound.metric.name, task.name,
        subject.fingerprint(), False, 3.0 + 3.0 * steps, seed, (), task.fingerprint(),
    )  # fmt: skip


def _averaged(subject: Any, bound: Any, sites: list[str], first: dict[str, Tensor], steps: int) -> dict[str, Tensor]:
    """Gradients averaged over `steps` points from corrupt (included) towards clean embeddings."""
    from microtome.subject.edit import patch

    ends = [subject.run(x, record=["embed"], logits="none")["embed"] for x in (bound.corrupt, bound.inputs)]
    total = {k: v.clone() for k, v in first.items()}
    for k in range(1, steps):
        point = torch.lerp(ends[0], ends[1], k / steps)
        _, grads, _ = gradients(subject, bound.corrupt, sites, bound.metric, [patch("embed", point)])
        for name in total:
            total[name] += grads[name]
    return {k: v / steps for k, v in total.items()}


def _dot(delta: Tensor, grad: Tensor, node: Node, subject: Any, bound: Any) -> np.ndarray:
    """Sum over the node's cells of delta * gradient [n]."""
    product = (delta * grad).double()
    axes = subject.site(node.site).axes_of(product)
    if node.head is not None:
        product = product.select(axes.index("head"), node.head)
        axes = tuple(a for a in axes if a != "head")
    if node.unit is not None:
        name = "unit" if "unit" in axes else "channel"
        product = product.select(axes.index(name), node.unit)
        axes = tuple(a for a in axes if a != name)
    if node.position is not None:
        columns = bound.inputs.frame_of(subject.site(node.site)).resolve(node.position)[:, 0].to(product.device)
        product = product[torch.arange(len(product), device=product.device), columns]
    return product.flatten(1).sum(dim=1).cpu().numpy() if product.ndim > 1 else product.cpu().numpy()
