"""Hierarchical attribution: one backward pass in which weak nodes pass nothing on."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.unit import Unit
from microtome.trace.attribution_graph import AttributionGraph
from microtome.trace.build_graph import one_prompt
from microtome.trace.chosen_graph import chosen_graph
from microtome.trace.frozen import Frozen, flat, frozen
from microtome.trace.graph_targets import Explained, logit_targets, unit_target
from microtome.trace.stations import stations

if TYPE_CHECKING:
    from microtome.subject.basis import Basis


@method(
    question="trace",
    paper=Paper("Ge, Zhu, Shu, Wang, He, Qiu", 2024, "Automatically Identifying Local and Global Circuits with Linear "
                "Computation Graphs", "https://arxiv.org/abs/2405.13868"),
    needs=("subject", "tokens", "basis", "gradients"),
    gives="AttributionGraph",
    stochastic=False,
    cost="one forward and one backward; the edges one more forward and a vector-Jacobian product per node kept",
    claim="With attention and norms held, attributions are exact, and pruning inside the backward pass finds better sets of "
          "nodes than ranking after it.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="What changes an attention pattern; gates are held at the observed prompt.",
    tiny={"threshold": 0.01},
)  # fmt: skip
def hierarchical_attribution(
    subject: Any,
    inputs: Any,
    bases: "Iterable[Basis]",
    *,
    target: "str | int | tuple[str | int, str | int] | Unit | None" = None,
    position: int = -1,
    threshold: float = 0.1,
    keep: Literal["both", "positive"] = "both",
    edges: bool = True,
) -> AttributionGraph:
    """Attribute a target to coordinates in one backward pass that weak coordinates do not pass on.

    ``attr(n) = a_n dy / da_n`` in the network whose patterns, norm scales and gates are held; at every coordinate the summed
    gradient is set to 0 unless ``|a_n g_n| > threshold``, so what stands below counts surviving paths only.

    Parameters
    ----------
    subject : Subject
    inputs : str, token ids or Inputs of one row
    bases : iterable of Basis
        Dictionaries at attention outputs, transcoders in the place of MLPs, or others.
    target : optional
        A token, a pair of tokens (logit difference), a `Unit` at `position`; None = the most probable next token.
    position : int, default -1
        Of a `Unit`.
    threshold : float, default 0.1
        In units of the target. Paper's code: 0.1. Negative keeps all.
    keep : {"both", "positive"}
        "positive" is the paper's code: coordinates that lower the target vanish.
    edges : bool, default True
        Also the direct edges between what was kept.

    Returns
    -------
    AttributionGraph
        Coordinates kept, their `effect` = attribution over surviving paths; tokens, errors and biases as leaves.

    Raises
    ------
    UsageError, ShapeError, SiteError, SubjectMismatch
        When `keep` is unknown, a basis does not fit, the prompt is not one row, or the target is not there.

    Notes
    -----
    Null: in a network with random weights many small nodes pass, and errors carry most of the target.
    Misleads when large paths of opposite sign cancel above a node: it is dropped with both.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> basis = mt.subject.basis.Identity("blocks.1.attn.out", subject.facts.d_model)
    >>> graph = hierarchical_attribution(subject, subject.organism.examples(1).clean, [basis], threshold=-1.0)
    >>> leaves = graph.effect[(graph.kind != 3) & (graph.kind != 5)].sum()  # all but features and the logit
    >>> bool((leaves - graph.value[-1]).abs() < 1e-3)
    True

    References
    ----------
    Ge, Zhu, Shu, Wang, He, Qiu (2024). Automatically Identifying Local and Global Circuits with Linear Computation Graphs.
    https://arxiv.org/abs/2405.13868
    """
    if keep not in ("both", "positive"):
        raise UsageError(f"keep must be 'both' or 'positive', got {keep!r}.")
    prompt = one_prompt(subject, inputs)
    places = stations(subject, bases)
    net = frozen(subject, prompt, places, live=True)
    explained = unit_target(net, target, position) if isinstance(target, Unit) else logit_targets(subject, net, target)
    explained = explained.first()
    effects = backward(net, explained, threshold, keep == "positive")
    return chosen_graph(subject, prompt, places, explained, effects, net, edges=edges)


def backward(net: Frozen, explained: Explained, threshold: float, positive: bool) -> dict[tuple[str, str], Tensor]:
    """Effects of everything on the first target in one backward pass: by kind and site, 0 where a coordinate was dropped."""
    effects: dict[tuple[str, str], Tensor] = {}
    handles = [
        live.register_hook(partial(_filter, effects, reads, net.codes[reads].value, threshold, positive))
        for reads, live in net.live.items()
        if live.requires_grad
    ]
    for station in net.stations:
        effects["feature", station.reads] = torch.zeros(len(net.codes[station.reads]))
    seed = explained.seeds[0]
    read = flat(net.readers[seed.site])[0, int(seed.position[0])]
    value = (read * seed.vector[0].to(read)).sum()
    names = list(net.leaves)
    grads = torch.autograd.grad(value, [*net.leaves.values(), net.one], retain_graph=True, allow_unused=True)
    for handle in handles:
        handle.remove()
    for name, grad in zip(names, grads):
        brought = torch.zeros(net.length) if grad is None else (net.leaves[name].detach() * grad).reshape(net.length, -1).sum(1)
        effects["token" if name == "token" else "error", "" if name == "token" else name] = brought
    biases = torch.zeros(len(net.one)) if grads[-1] is None else grads[-1].clone()
    biases[int(explained.block[0])] += explained.constant[0]
    effects["bias", ""] = biases
    return effects


def _filter(effects: dict, reads: str, amount: Tensor, threshold: float, positive: bool, grad: Tensor) -> Tensor:
    """Runs on the summed gradient of a station's coordinates."""
    brought = amount * grad
    kept = brought > threshold if positive else brought.abs() > threshold
    effects["feature", reads] = torch.where(kept, brought, 0.0)
    return torch.where(kept, grad, 0.0)
