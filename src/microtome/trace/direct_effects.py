"""Direct logit attribution: what each head and MLP writes, at the answer, towards the answer."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.errors import SiteError, UsageError
from microtome.method import Paper, method
from microtome.subject.architecture import submodule
from microtome.subject.edit import Edit
from microtome.subject.replay import head_of, main_trunk
from microtome.trace.effects import Effects
from microtome.trace.listing import Kind, as_nodes
from microtome.trace.measured import bound_pairs, measured
from microtome.trace.nodes import Node
from microtome.trace.norms import Norm, norm_of
from microtome.trace.ov import output_weights


@method(
    question="trace",
    paper=Paper("Lieberum, Rahtz, Kramár, Nanda, Irving, Shah, Mikulik", 2023, "Does Circuit Analysis Interpretability Scale? "
                "Evidence from Multiple Choice Capabilities in Chinchilla", "https://arxiv.org/abs/2307.09458"),
    needs=("subject", "task"),
    gives="Effects",
    stochastic=True,
    cost="two forwards",
    claim="A small set of nodes writes the answer directly, and their direct effects find them.",
    notion="transparency",
    serves="causality",
    cannot_claim="The total effect: what a node does through later nodes is not in it.",
    tiny={"nodes": "head"},
)  # fmt: skip
def direct_effects(subject: Any, task: Any, *, nodes: "Kind | Iterable[Node | str]" = "component", seed: int = 0) -> Effects:
    """Attribute the logit difference at the answer to what each head and MLP adds to the residual stream there.

    ``c_u = out_u . (L (w_answer - w_wrong))`` at the answer's position, L the final norm with its scale held at the clean run;
    ``effect = (c_u(clean) - c_u(corrupt)) / (m(clean) - m(corrupt))``. Over all nodes and the embedding, c sums up to m(clean)
    (less the biases).

    Parameters
    ----------
    subject : Subject
        A decoder with a residual stream, a final norm and a linear head.
    task : Task
    nodes : str or iterable of Node or str, default "component"
        Heads and MLP outputs: "component", "head", "mlp", or names ("a2.h1", "m0").
    seed : int, default 0
        Of the intervals.

    Returns
    -------
    Effects

    Raises
    ------
    SiteError
        When the subject has no such stream, norm and head, or a node is neither a head nor an MLP's output.
    UsageError
        When a node names a position or unit.
    Degenerate
        When clean and corrupt metrics do not differ.

    Notes
    -----
    Null: in a network with random weights no node has a consistent effect.
    Misleads when later nodes erase what an early node wrote, and when the norm's scale differs much between the runs.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> task = subject.organism.examples(32)
    >>> sorted(str(n) for n in direct_effects(subject, task, nodes="head").top(3))
    ['a1.h0', 'a1.h2', 'a2.h1']

    References
    ----------
    Lieberum et al. (2023). Does Circuit Analysis Interpretability Scale? https://arxiv.org/abs/2307.09458
    """
    bound = bound_pairs(subject, task, "logit_difference")
    wanted = as_nodes(subject, nodes, 0)
    direction, last, norm = readout(subject, bound)
    sites = sorted({last, *(_site(n) for n in wanted)})
    clean, m_clean = measured(subject, bound.inputs, bound.metric, record=sites)
    corrupt, m_corrupt = measured(subject, bound.corrupt, bound.metric, record=sites)
    rows, at = torch.arange(len(bound)), bound.metric.positions
    if norm is not None:
        direction = norm.folded(direction) / norm.spread(clean[last][rows, at])[:, None]
    change = np.stack([
        (_written(subject, n, (clean[n.site] - corrupt[n.site])[rows, at]) * direction).sum(-1).double().cpu().numpy()
        for n in wanted
    ])  # fmt: skip
    return Effects(
        wanted, change, m_clean - m_corrupt, np.asarray(bound.groups), "direct effects", bound.metric.name, task.name,
        subject.fingerprint(), False, 2.0, seed, (), task.fingerprint(),
    )  # fmt: skip


def readout(subject: Any, bound: Any) -> tuple[Tensor, str, Norm | None]:
    """The direction of the logit difference [n, d] before the final norm, the site before the norm, and the norm (None: none).

    Raises
    ------
    SiteError
        When there is no linear head on a residual stream.
    """
    trunk, head = main_trunk(subject), head_of(subject)
    if trunk is None or not isinstance(head, nn.Linear) or bound.metric.positions is None:
        raise SiteError(
            f"{subject.name} has no linear head on a residual stream, so no direct effect on its logits is defined."
        )
    label = f"{trunk.stack.name}." if trunk.stack.name else ""
    weight = head.weight.detach()
    direction = weight[bound.answers.to(weight.device)] - weight[bound.wrong.to(weight.device)]
    module = submodule(subject.module, trunk.path(trunk.stack.final_norm)) if trunk.stack.final_norm else None
    norm = None if module is None or isinstance(module, nn.Identity) else norm_of(module, trunk.dims.d_model)
    return direction, f"{label}blocks.{trunk.dims.blocks - 1}.resid_post", norm


def replaced(subject: Any, bound: Any, sets: "list[list[Node]]") -> list[Edit]:
    """Edits of the last residual stream that give some nodes' direct contributions [per set] their corrupt value.

    Everything else, also what these nodes do through later nodes, stays as in the clean run; the final norm is recomputed.
    """
    universe = sorted({n for s in sets for n in s})
    _, last, _ = readout(subject, bound)
    sites = sorted({n.site for n in universe})
    clean, corrupt = (subject.run(x, record=sites, logits="none") for x in (bound.inputs, bound.corrupt))
    rows, at = torch.arange(len(bound)), bound.metric.positions
    change = {n: _written(subject, n, (corrupt[n.site] - clean[n.site])[rows, at]) for n in universe}
    return [Edit(last, "add", torch.stack([change[n] for n in s]).sum(0), -1) for s in sets]


def _site(node: Any) -> str:
    if not isinstance(node, Node) or node.position is not None or node.unit is not None:
        raise UsageError(f"{node}: direct effects are of whole heads and MLPs at the answer's position.")
    if not (node.site.endswith("mlp.out") or (node.site.endswith("attn.z") and node.head is not None)):
        raise SiteError(f"{node} is neither a head ('a2.h1') nor an MLP's output ('m0').")
    return node.site


def _written(subject: Any, node: Node, value: Tensor) -> Tensor:
    """What a node adds to the stream [n, d], from its value [n, ...] (a difference of two runs, so biases cancel)."""
    return value if node.head is None else value[:, node.head] @ output_weights(subject, node.layer)[node.head]
