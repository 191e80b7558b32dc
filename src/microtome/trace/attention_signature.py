"""Attention signatures: which heads look where a rule says they should."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, SiteError, UsageError
from microtome.evidence import Finding, Null, NullFamily, Provenance
from microtome.method import Paper, method
from microtome.rng import torch_rng
from microtome.trace.drawn import estimated, resampled_means
from microtome.trace.listing import nodes


@method(
    question="trace",
    paper=Paper("Li, Kaufmann, Wattenberg, Alvarez-Melis, Saphra", 2025, "Can Interpretation Predict Behavior on Unseen Data?",
                "https://arxiv.org/abs/2507.06445"),
    needs=("subject", "tokens", "labels"),
    gives="Finding",
    stochastic=True,
    cost="one forward with patterns; O(draws * marked queries * keys * heads) on them",
    claim="Whether heads attend as a rule prescribes can be read off inputs on which no rule is singled out.",
    notion="post-hoc",
    serves="transferability",
    cannot_claim="That the rule is computed by these heads: attention is correlation. Ablate the pattern to see.",
    tiny={"draws": 39},
)  # fmt: skip
def attention_signature(
    subject: Any,
    tokens: Any,
    cells: Any,
    *,
    draws: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Measure how much of its attention each head puts on marked keys, over what it would by chance.

    ``s(h) = mean over marked queries q of sum over marked keys k of A_h[q, k]``. Chance: for every marked query as many keys,
    drawn among those it can see.

    Parameters
    ----------
    subject : Subject
    tokens : Inputs, Stimuli or LongTensor[n, length]
        Inputs of one length.
    cells : bool [n, length, length] or [length, length]
        Marked (query, key) pairs; queries without a mark are not asked.
    draws : int, default 199
        Random keys.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: share of attention of the head with the largest excess, with its interval over inputs. Null: the largest
        excess of any head on random keys. Table, one row per head: effect = share on the marked keys less chance, share with
        low and high, chance, p, q.

    Raises
    ------
    ShapeError
        When `cells` does not fit the inputs.
    Degenerate
        When no cell is marked, or every visible key is.
    SiteError
        When the subject has no attention patterns.
    UsageError
        When `draws` is less than 1.

    Notes
    -----
    Null: a head that does not know the rule puts the marked share of visible keys there, on average.
    Misleads when marked keys stand at fixed distances: a head of position then shows the signature without the rule.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> net = planted_network(0)
    >>> cells = torch.zeros(5, 5, dtype=torch.bool)
    >>> cells[4, net.position] = True                                     # where the planted head looks
    >>> table = attention_signature(net.subject, net.task.clean, cells).table
    >>> table.loc[table["effect"].idxmax(), "node"] == f"a{net.block}.h{net.head}"
    True

    References
    ----------
    Li, Kaufmann, Wattenberg, Alvarez-Melis, Saphra (2025). Can Interpretation Predict Behavior on Unseen Data?
    https://arxiv.org/abs/2507.06445
    """
    import pandas as pd

    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    inputs = subject.inputs(tokens)
    heads = nodes(subject, "head")
    sites = sorted({n.site.replace("attn.z", "attn.pattern") for n in heads}, key=lambda s: subject.site(s).block)
    run = subject.run(inputs, record=sites, logits="none")
    pattern = torch.cat([run[s].float() for s in sites], dim=1)  # [n, all heads, query, key]
    if pattern.shape[1] != len(heads):
        raise SiteError(f"{subject.name} has {len(heads)} heads and {pattern.shape[1]} patterns; they do not correspond.")
    marks = _marks(cells, pattern)
    asked = marks.any(-1)
    rows = pattern.movedim(1, 3)[asked]  # [marked queries, key, head]
    marked, visible = marks[asked], (pattern.amax((0, 1)) > 0).expand(len(marks), -1, -1)[asked]
    marked = marked & visible
    wanted = marked.sum(-1)
    if not wanted.any() or bool((wanted == visible.sum(-1)).all()):
        raise Degenerate("the marked queries see no marked key, or nothing else: attention on them says nothing.")
    share = torch.einsum("rk,rkh->rh", marked.float(), rows)
    chance = (rows.sum(1) * (wanted / visible.sum(-1))[:, None]).double().numpy()
    generator = torch_rng(seed, "signature")
    null = torch.stack([torch.einsum("rk,rkh->h", _redrawn(visible, wanted, generator).float(), rows) / len(rows)
                        for _ in range(draws)]).double().numpy()  # fmt: skip
    mean, expected = share.double().numpy().mean(0), chance.mean(0)
    family = NullFamily("as many keys drawn among the visible ones", null - expected, mean - expected, "greater")
    groups = torch.arange(len(asked))[:, None].expand_as(asked)[asked.cpu()].numpy()
    spread = resampled_means(share.double().numpy().T, groups, 999, seed, "signature", "interval")
    low, high = np.percentile(spread, [2.5, 97.5], axis=0)
    tested, best = family.table(alpha=alpha), int((mean - expected).argmax())
    table = pd.DataFrame({
        "node": [n.short for n in heads], "site": [n.site for n in heads], "layer": [n.layer for n in heads],
        "head": [n.head for n in heads], "effect": mean - expected, "share": mean, "low": np.minimum(low, mean),
        "high": np.maximum(high, mean), "chance": expected, "p": tested["p"], "q": tested["q"],
    })  # fmt: skip
    return Finding(
        f"{heads[best]} attends to the marked keys",
        estimate=estimated(mean[best], spread[:, best], len(set(groups.tolist())), "share of attention",
                           "bootstrap over inputs"),
        nulls=(Null("random visible keys, largest of all heads", (null - expected).max(1), float((mean - expected)[best])),),
        controls={"chance": float(expected[best])}, table=table, alpha=alpha,
        provenance=Provenance(subject=subject.fingerprint(), seed=seed, forwards=1.0),
    )  # fmt: skip


def _marks(cells: Any, pattern: Tensor) -> Tensor:
    marks = torch.as_tensor(cells, device=pattern.device).bool()
    shape = (pattern.shape[0], *pattern.shape[2:])
    if tuple(marks.shape) not in (shape, shape[1:]):
        raise ShapeError(f"cells must be [n, query, key] = {list(shape)} or {list(shape[1:])}, got {list(marks.shape)}.")
    return marks.expand(shape)


def _redrawn(visible: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """For each row, `wanted` of its visible keys at random."""
    order = torch.rand(visible.shape, generator=generator).to(visible.device).masked_fill(~visible, -1.0)
    ranks = order.argsort(dim=1, descending=True).argsort(dim=1)
    return ranks < wanted[:, None]
