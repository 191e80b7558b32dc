"""Activation patching: exact effects of nodes by interchange with a counterfactual run."""

import warnings
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.rng import torch_rng
from microtome.subject.edit import Edit
from microtome.trace.effects import Effects
from microtome.trace.nodes import Kind, Node, as_nodes


class PatchingPractice(UserWarning):
    """A setting with which patching is known to mislead (Zhang & Nanda 2024)."""


@method(
    question="trace",
    paper=Paper("Zhang, Nanda", 2024, "Towards Best Practices of Activation Patching in Language Models: Metrics and Methods",
                "https://arxiv.org/abs/2309.16042"),
    needs=("subject", "task"),
    gives="Effects",
    stochastic=True,
    cost="two forwards, then the suffix of one forward per node, stacked on the batch",
    claim="Logit difference with replaced tokens finds components that probability or Gaussian noise miss or invent.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That a node without effect is unused: backups can stand in for it, and effects do not add up.",
    tiny={"nodes": "layer"},
)  # fmt: skip
def activation_patching(
    subject: Any,
    task: Any,
    *,
    nodes: "Kind | Iterable[Node | str]" = "layer_position",
    direction: Literal["denoising", "noising"] = "denoising",
    metric: str | None = None,
    corruption: Literal["replacement", "noise"] = "replacement",
    role: str | None = None,
    window: int = 1,
    seed: int = 0,
) -> Effects:
    """Put each node's activation from one run into the other and measure how much of the behaviour comes along.

    Denoising: ``(m(corrupt, node <- clean) - m(corrupt)) / (m(clean) - m(corrupt))``; noising:
    ``(m(clean) - m(clean, node <- corrupt)) / (m(clean) - m(corrupt))``. Means are taken before the ratio.

    Parameters
    ----------
    subject : Subject
    task : Task
        Clean and corrupt inputs of equal token counts.
    nodes : str or iterable of Node
        "layer_position", "layer", "head", "mlp", "component", "head_position", or nodes by name.
    direction : {"denoising", "noising"}
    metric : str, optional
        Default: the task's. Logit difference is the good choice.
    corruption : {"replacement", "noise"}
        Tokens replaced (the task's corrupt inputs), or Gaussian noise of three standard deviations of the embeddings.
    role : str, optional
        Of the task: noise goes to its token; default all tokens.
    window : int, default 1
        Adjacent layers patched together (3, 5 or 10 in the paper).
    seed : int, default 0
        Of noise and intervals.

    Returns
    -------
    Effects
        ``.table`` with intervals over prompt groups and q-values, ``.grid()``, ``.finding()``.

    Raises
    ------
    Degenerate
        When clean and corrupt metrics do not differ.
    ShapeError, TokenizerError
        Pairs of unequal length; answers that are not one token.

    Warns
    -----
    PatchingPractice
        For noise, for probabilities, and when the subject does not do the task.

    Notes
    -----
    Null: in a network with random weights no node has a consistent effect.
    Misleads when a backup component stands in (effects too small), or when noise leaves the distribution.

    Examples
    --------
    >>> import microtome as mt                                                                  # doctest: +SKIP
    >>> task = subject.organism.truth.task("ioi", 64)                                            # doctest: +SKIP
    >>> mt.trace.activation_patching(subject, task, nodes="head").table.nlargest(5, "effect")    # doctest: +SKIP

    References
    ----------
    Zhang, Nanda (2024). Towards Best Practices of Activation Patching in Language Models: Metrics and Methods.
    https://arxiv.org/abs/2309.16042
    """
    if direction not in ("denoising", "noising"):
        raise UsageError(f"direction must be 'denoising' or 'noising', got {direction!r}.")
    bound = subject.bind(task, metric=metric)
    wanted = as_nodes(subject, nodes, int(bound.inputs.lengths.min()) if bound.metric.positions is not None else 0)
    notes = _practice(bound, corruption)
    sites = sorted({n.site for n in wanted})
    noise = _noise(subject, bound, corruption, role, seed)
    clean = subject.run(bound.inputs, record=sites, logits="all" if bound.metric.positions is None else bound.metric.positions)
    # Noise is added to the clean prompt; replacement is another prompt.
    other_inputs = bound.inputs if noise else bound.corrupt
    other = subject.run(other_inputs, record=sites, edits=noise,
                        logits="all" if bound.metric.positions is None else bound.metric.positions)  # fmt: skip
    m_clean, m_other = (bound.metric(bound.metric.read(_rows(r.logits))).double().cpu().numpy() for r in (clean, other))
    if float(m_clean.mean()) <= float(m_other.mean()):
        notes += (_warn(f"'{task.name}' is not done better on clean than on corrupt inputs ({m_clean.mean():.2f} and "
                        f"{m_other.mean():.2f} {bound.metric.name}): there may be no effect to explain"),)  # fmt: skip
    into_inputs, source = (other_inputs, clean) if direction == "denoising" else (bound.inputs, other)
    held = noise if direction == "denoising" else []
    sets = [[*held, *(n.patch(source[n.site]) for n in _window(node, window, wanted))] for node in wanted]
    swept = subject.sweep(into_inputs, sets, bound.metric)
    start = m_other if direction == "denoising" else m_clean
    change = swept.values.double().numpy() - start
    return Effects(
        wanted, change if direction == "denoising" else -change, m_clean - m_other, np.asarray(bound.groups),
        f"activation patching ({direction})", bound.metric.name, task.name, subject.fingerprint(), True,
        swept.forwards + 2, seed, notes, task.fingerprint(),
    )  # fmt: skip


def _rows(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, 0] if logits.ndim == 3 and logits.shape[1] == 1 else logits


def _practice(bound: Any, corruption: str) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if corruption == "noise":
        notes += (_warn("Gaussian noise moves activations off the distribution and can invent or break effects; "
                        "replacing tokens (corruption='replacement') is safer"),)  # fmt: skip
    elif corruption != "replacement":
        raise UsageError(f"corruption must be 'replacement' or 'noise', got {corruption!r}.")
    if bound.metric.name.startswith("prob"):
        notes += (_warn("probability saturates and hides components that act against the answer; "
                        "logit_difference shows both signs"),)  # fmt: skip
    return notes


def _warn(text: str) -> str:
    warnings.warn(text + ".", PatchingPractice, stacklevel=3)
    return text


def _noise(subject: Any, bound: Any, corruption: str, role: str | None, seed: int) -> list[Edit]:
    """Noise of three standard deviations of the embedding's entries on the embeddings of a role's token, or of all."""
    if corruption != "noise":
        return []
    embed = subject.run(bound.inputs, record=["embed"], logits="none")["embed"]
    draw = torch.randn(embed.shape, generator=torch_rng(seed, "noise")).to(embed)
    noise = 3 * subject.module.get_input_embeddings().weight.std().item() * draw
    position = None
    if role is not None:
        if role not in bound.roles:
            raise UsageError(f"the task has no role '{role}'; it has {sorted(bound.roles)}.")
        position = bound.roles[role]
    return [Edit("embed", "set", embed + noise, position)]


def _window(node: Node, width: int, wanted: list[Node]) -> list[Node]:
    """The node and its neighbours in layers, `width` of them, that are among the wanted ones."""
    if width <= 1:
        return [node]
    near = [n for n in wanted if (n.head, n.position, n.unit) == (node.head, node.position, node.unit)
            and n.site.rpartition("blocks.")[2].partition(".")[2] == node.site.rpartition("blocks.")[2].partition(".")[2]
            and -(width - 1) // 2 <= n.layer - node.layer <= width // 2]  # fmt: skip
    return near
