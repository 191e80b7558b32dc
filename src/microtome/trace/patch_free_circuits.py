"""Patch-free circuits: what dictionaries everywhere bring to a logit, a feature or an attention score, from one forward."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.errors import SiteError, UsageError
from microtome.method import Paper, method
from microtome.subject.unit import Unit
from microtome.trace.attribution_graph import AttributionGraph
from microtome.trace.build_graph import Growing, one_prompt
from microtome.trace.frozen import frozen
from microtome.trace.graph_targets import logit_targets, unit_target
from microtome.trace.rows import Seeds, Sources
from microtome.trace.source_names import source_names
from microtome.trace.stations import stations

if TYPE_CHECKING:
    import pandas as pd

    from microtome.subject.basis import Basis

MEMORY = 256 * 2**20


@method(
    question="trace",
    paper=Paper("He, Ge, Tang, Sun, Cheng, Qiu", 2024, "Dictionary Learning Improves Patch-Free Circuit Discovery in "
                "Mechanistic Interpretability: A Case Study on Othello-GPT", "https://arxiv.org/abs/2402.12201"),
    needs=("subject", "tokens", "basis", "gradients"),
    gives="AttributionGraph",
    stochastic=False,
    cost="one forward; one vector-Jacobian product per node followed",
    claim="With dictionaries on everything that writes to the stream, logits and attention scores split exactly into features "
          "without a single patch, and direct contributions predict ablations.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="Effects through queries, keys and gates: they are held (see `attention_score`).",
    tiny={"breadth": 4, "depth": 2},
)  # fmt: skip
def patch_free_circuits(
    subject: Any,
    inputs: Any,
    bases: "Iterable[Basis]",
    *,
    target: "str | int | tuple[str | int, str | int] | Unit | None" = None,
    position: int = -1,
    breadth: int = 10,
    depth: int = 3,
) -> AttributionGraph:
    """Follow a logit or feature back to the features that write it, the largest contributions first, without patching.

    Every module that writes to the stream is ``sum_i c_i d_i + error``, so a linear read-out splits: ``c_i (d_i . W_U)`` for a
    logit (final norm held), ``A_h[t, s] c_i (W_OV^h d_i) . e`` through a head, and for a feature of an MLP output the share
    that its gates, held at hidden / pre, let through (the approximate direct contribution).

    Parameters
    ----------
    subject : Subject
    inputs : str, token ids or Inputs of one row
    bases : iterable of Basis
        Dictionaries of ``blocks.0.resid_pre``, attention outputs and MLP outputs. Where one is missing, contributions pass on
        to what stands before.
    target : optional
        A token, a pair of tokens, a `Unit` at `position`; None = the most probable next token.
    position : int, default -1
        Of a `Unit`.
    breadth : int, default 10
        Contributions kept per node.
    depth : int, default 3
        How far back.

    Returns
    -------
    AttributionGraph
        ``graph.received()`` equals each expanded node's value; what is not kept is in `rest`.

    Raises
    ------
    UsageError, ShapeError, SiteError, SubjectMismatch
        When breadth or depth is below 1, a basis does not fit, the prompt is not one row, or the target is not there.

    Notes
    -----
    Null: with shuffled features contributions do not predict ablations.
    Misleads when features of an MLP output are read as exact: their gates depend on the input (use transcoders), or when a
    head's pattern is what the features set: look at `attention_score` beside it. Contributions leave out that the final norm
    rescales everything when a feature goes; with it, about two thirds of the ten largest stayed so in the replication.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> basis = mt.subject.basis.Identity("blocks.1.attn.out", subject.facts.d_model)
    >>> graph = patch_free_circuits(subject, subject.organism.examples(1).clean, [basis])
    >>> bool((graph.received() - graph.value)[graph.expanded].abs().max() < 1e-3)
    True

    References
    ----------
    He, Ge, Tang, Sun, Cheng, Qiu (2024). Dictionary Learning Improves Patch-Free Circuit Discovery in Mechanistic
    Interpretability: A Case Study on Othello-GPT. https://arxiv.org/abs/2402.12201
    """
    if breadth < 1 or depth < 1:
        raise UsageError(f"breadth and depth must be at least 1, got {breadth} and {depth}.")
    prompt = one_prompt(subject, inputs)
    net = frozen(subject, prompt, stations(subject, bases))
    explained = unit_target(net, target, position) if isinstance(target, Unit) else logit_targets(subject, net, target)
    grown = Growing(net, explained.first(), breadth, MEMORY, breadth**depth)
    for _ in range(depth - 1):
        reached = torch.zeros(grown.total, dtype=torch.bool)
        reached[torch.cat(grown.rows.source)] = True
        chosen = (reached & grown.is_feature & ~grown.expanded).nonzero()[:, 0]
        if not len(chosen):
            break
        grown.expand_features(chosen)
    whole = grown.graph(subject, prompt)
    used = torch.zeros(grown.total, dtype=torch.bool)
    used[torch.cat([whole.source, whole.target])] = True
    return whole.part(used | (whole.start > 0))


@dataclass(frozen=True, eq=False)
class ScoreParts:
    """An attention score as a sum over pairs: a source that writes the query, a source that writes the key.

    Attributes
    ----------
    weight : Tensor[query sources, key sources]
    query, key : list of str
        Names of the sources.
    score : float
        ``q . k / sqrt(d_head)`` of the network: the sum of `weight`.
    """

    weight: Tensor
    query: list[str]
    key: list[str]
    score: float

    def table(self, top: int = 50) -> "pd.DataFrame":
        """The largest pairs: query, key, weight."""
        import pandas as pd

        order = self.weight.abs().flatten().argsort(descending=True)[:top]
        rows = [(self.query[int(i) // len(self.key)], self.key[int(i) % len(self.key)], float(self.weight.flatten()[i]))
                for i in order]  # fmt: skip
        return pd.DataFrame(rows, columns=["query", "key", "weight"])


def attention_score(
    subject: Any, inputs: Any, bases: "Iterable[Basis]", *, block: int, head: int, query: int, key: int
) -> ScoreParts:
    """Split one attention score before the softmax into pairs of sources, ``c_i c_j d_i' W_Q W_K' d_j / sqrt(d_head)``.

    Parameters
    ----------
    subject : Subject
        Without rotary positions or norms of queries and keys.
    inputs : str, token ids or Inputs of one row
    bases : iterable of Basis
    block, head : int
    query, key : int
        Positions, key at most query.

    Returns
    -------
    ScoreParts

    Raises
    ------
    UsageError
        When a position or head is not there.
    SiteError
        When queries and keys are changed between their projections and the score (rotary positions).
    """
    prompt = one_prompt(subject, inputs)
    sites = [f"blocks.{block}.attn.{part}" for part in ("q", "k")]
    net = frozen(subject, prompt, stations(subject, bases), also=sites)
    sources, (q, k) = Sources(net), (net.readers[s].detach()[0] for s in sites)
    heads, units = q.shape[1:]
    if not (0 <= head < heads and 0 <= key <= query < net.length):
        raise UsageError(f"there are {heads} heads and {net.length} positions, and a query sees keys up to its own position.")
    group = head * k.shape[1] // heads
    scale = units**-0.5
    scores = (k[: query + 1, group] @ q[query, head]) * scale
    seen = subject.run(prompt, record=[f"blocks.{block}.attn.pattern"])[f"blocks.{block}.attn.pattern"][0, head, query]
    if not torch.allclose(scores.softmax(-1), seen[: query + 1], atol=1e-3):
        raise SiteError(
            f"the pattern of blocks.{block} is not softmax(q . k / sqrt({units})) of its projections: queries and keys are "
            "rotated, normed or scaled in between, so the score does not split into these pairs."
        )
    sides = []
    for site, at, which in ((sites[0], query, head), (sites[1], key, group)):
        width = net.readers[site].shape[2] * units
        seeds = Seeds(site, torch.full((units,), at), torch.eye(width)[which * units : (which + 1) * units])
        sides.append(torch.cat([rows for _, rows in sources.rows([seeds], MEMORY)]))
    weight = sides[0].T @ sides[1] * scale
    rows, columns = (side.abs().sum(0) > 0 for side in sides)
    names = source_names(sources)
    return ScoreParts(
        weight[rows][:, columns], [n for n, r in zip(names, rows) if r], [n for n, c in zip(names, columns) if c],
        float(scores[key]),
    )  # fmt: skip
