"""How few directions of a head's queries and keys carry what it does: compressed queries and keys."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import NonFinite, SiteError, UsageError
from microtome.evidence import Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import derive, torch_rng
from microtome.subject.edit import Edit
from microtome.trace.head_mediation import places
from microtome.trace.listing import as_nodes
from microtome.trace.measured import bound_pairs
from microtome.trace.nodes import Node
from microtome.trace.share import share_of


@method(
    question="trace",
    paper=Paper("Lieberum, Rahtz, Kramár, Nanda, Irving, Shah, Mikulik", 2023, "Does Circuit Analysis Interpretability Scale? "
                "Evidence from Multiple Choice Capabilities in Chinchilla", "https://arxiv.org/abs/2307.09458"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="one forward to fit, then the suffix of one forward per rank and random draw",
    claim="A few directions of the queries and keys of the heads that find the correct label suffice.",
    notion="decomposability",
    serves="causality",
    cannot_claim="What the directions mean, or that the head uses them on other prompts.",
    tiny={"nodes": "head", "ranks": (1, 2), "draws": 5},
    skips={"truth": "one number for a set of heads: no row of its table stands for a planted head; planted in the tests",
           "null": "the share kept of a behaviour that a random network does not have is a ratio of noise"},
)  # fmt: skip
def low_rank_heads(
    subject: Any,
    task: Any,
    *,
    nodes: "Iterable[Node | str] | str" = "head",
    keys: Sequence[str] | None = None,
    ranks: Sequence[int] = (1, 2, 3),
    draws: int = 20,
    seed: int = 0,
) -> Finding:
    """Project the queries and keys of heads on their leading directions and see how much of the behaviour is kept.

    ``q' = m_q + P P' (q - m_q)`` at the last token, k' likewise at the tokens `keys`, P the leading singular vectors of the
    centred values on one half of the prompt groups; ``kept(r) = m(q', k') / m`` on the other half.

    Parameters
    ----------
    subject : Subject
    task : Task
    nodes : str or iterable of Node or str, default "head"
        Heads that are compressed together, e.g. those that `attention_roles` finds.
    keys : sequence of str, optional
        Roles of the tokens whose keys are compressed; default every position.
    ranks : sequence of int, default (1, 2, 3)
        The paper finds about 3 enough.
    draws : int, default 20
        Random sets of directions per rank.
    seed : int, default 0
        Of the split and the random directions.

    Returns
    -------
    Finding
        Of the smallest rank that keeps 95%, else of the largest. Table: rank, kept with low and high, random (mean),
        best_random, variance (share of the variance of queries and keys that the directions hold).

    Raises
    ------
    UsageError
        When a rank or role does not fit, or a node is not a head.
    SiteError
        When queries and keys of the subject are not sites of their own.
    NonFinite
        When a query or key is not a number.
    Degenerate
        When there is one group of prompts only.

    Notes
    -----
    Null: as many random orthonormal directions, through the same means.
    Misleads when other heads do the same work: then any projection keeps the behaviour. Queries and keys are projected before
    a rotation by position (RoPE), where there is one.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> head = f"a{planted.block}.h{planted.head}"
    >>> found = low_rank_heads(planted.subject, planted.task, nodes=[head], ranks=[1], draws=5)
    >>> bool(found.estimate.value > 0.95 > found.table["random"].iloc[0])
    True

    References
    ----------
    Lieberum et al. (2023). Does Circuit Analysis Interpretability Scale? https://arxiv.org/abs/2307.09458
    """
    derive(seed)
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    fitted, held = task.split(seed)
    bound, test = bound_pairs(subject, fitted), bound_pairs(subject, held)
    heads = as_nodes(subject, nodes, 0)
    wrong = [n for n in heads if n.head is None or not n.site.endswith("attn.z") or n.position is not None]
    if wrong:
        raise UsageError(f"{wrong[0]} is no head; give heads, e.g. 'a2.h1'.")
    parts = _parts(subject, heads)
    width = min(subject.site(site).shape[-1] for site, _ in parts)
    chosen = sorted({int(r) for r in ranks})
    if not chosen or chosen[0] < 1 or chosen[-1] > width:
        raise UsageError(f"ranks must lie in 1..{width}, got {list(ranks)}.")
    run = subject.run(bound.inputs, record=sorted({site for site, _ in parts}), logits="none")
    at = {"q": (places(bound, ["end"]), places(test, ["end"])), "k": (places(bound, keys), places(test, keys))}
    if any(not bool(torch.isfinite(run[site]).all()) for site, _ in parts):
        raise NonFinite("a query or key of the subject is not a number.")
    data = {part: _rows(run[part[0]][..., part[1], :], at[part[0][-1]][0]) for part in parts}
    means = {part: x.mean(dim=0) for part, x in data.items()}
    leading = {part: torch.linalg.svd(x - means[part], full_matrices=False) for part, x in data.items()}
    generator = torch_rng(seed, "random directions")
    sets = []
    for r in chosen:
        bases = [{part: leading[part][2][:r] for part in parts}]
        for _ in range(draws):
            drawn = {p: torch.linalg.qr(torch.randn(len(means[p]), r, generator=generator))[0].T.to(means[p]) for p in parts}
            bases.append(drawn)
        sets += [[_edit(part, means[part], b[part], at[part[0][-1]][1]) for part in parts] for b in bases]
    swept = subject.sweep(test.inputs, sets, test.metric)
    values = swept.values.double().numpy().reshape(len(chosen), draws + 1, -1)
    base = swept.base.double().numpy()
    rows = []
    for r, found in zip(chosen, values):
        kept = share_of(found[0], base, test.groups, seed)
        others = found[1:].mean(axis=1) / base.mean()
        variance = float(np.mean([float((s[:r] ** 2).sum() / (s**2).sum().clamp_min(1e-30)) for _, s, _ in leading.values()]))
        rows.append({"rank": r, "kept": kept, "others": others, "variance": variance})
    best = next((row for row in rows if row["kept"].value >= 0.95), rows[-1])
    return Finding(
        f"{best['rank']} directions of queries and keys of {', '.join(map(str, heads[:6]))} keep '{task.name}'",
        estimate=best["kept"],
        nulls=(Null("random directions, same rank and means", best["others"], best["kept"].value),),
        table=_table(rows),
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed, forwards=1 + swept.forwards),
    )  # fmt: skip


def _parts(subject: Any, heads: Sequence[Node]) -> list[tuple[str, int]]:
    """Sites and heads of the queries, and of the keys that these heads read (grouped heads share keys)."""
    found: dict[tuple[str, int], None] = {}
    for node in heads:
        q, k = (subject.site(node.site.replace("attn.z", f"attn.{part}")) for part in "qk")
        if not q.shape or not k.shape:
            raise SiteError(f"{q.name} and {k.name} have no head axis, so single heads cannot be compressed.")
        found[q.name, node.head or 0] = None
        found[k.name, (node.head or 0) // (q.shape[0] // k.shape[0])] = None
    return list(found)


def _rows(x: Tensor, position: Tensor | None) -> Tensor:
    """Values [n * positions, d_head] at some positions [n, k] of x [n, position, d_head]."""
    if position is None:
        return x.flatten(0, 1)
    return x[torch.arange(len(x))[:, None], position].flatten(0, 1)


def _edit(part: tuple[str, int], mean: Tensor, directions: Tensor, position: Tensor | None) -> Edit:
    def project(x: Tensor) -> Tensor:
        return mean + (x - mean) @ directions.T @ directions

    return Edit(part[0], "call", project, position, part[1])


def _table(rows: list[dict[str, Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame([
        {"rank": r["rank"], "kept": r["kept"].value, "low": r["kept"].value if r["kept"].low is None else r["kept"].low,
         "high": r["kept"].value if r["kept"].high is None else r["kept"].high, "random": float(r["others"].mean()),
         "best_random": float(r["others"].max()), "variance": r["variance"]}
        for r in rows
    ])  # fmt: skip
