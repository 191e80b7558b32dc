"""What heads attend to, by the role of the token: value-weighted attention from the answer's position."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from microtome.errors import NonFinite, UsageError
from microtome.evidence import Estimate, Finding, Null, NullFamily, Provenance, benjamini_hochberg, cluster_bootstrap
from microtome.method import Paper, method
from microtome.rng import derive, rng
from microtome.trace.head_mediation import role_columns
from microtome.trace.listing import nodes
from microtome.trace.measured import bound_pairs
from microtome.trace.ov import output_weights


@method(
    question="trace",
    paper=Paper("Lieberum, Rahtz, Kramár, Nanda, Irving, Shah, Mikulik", 2023, "Does Circuit Analysis Interpretability Scale? "
                "Evidence from Multiple Choice Capabilities in Chinchilla", "https://arxiv.org/abs/2307.09458"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="one forward that reads every attention pattern",
    claim="Some heads attend, at the last token, to the label of the correct option, others to all labels alike.",
    notion="transparency",
    serves="causality",
    cannot_claim="That the attended token causes the answer.",
    tiny={"draws": 199},
)  # fmt: skip
def attention_roles(
    subject: Any, task: Any, candidates: Sequence[str], *, right: str = "right", draws: int = 999, seed: int = 0
) -> Finding:
    """Tell heads that attend to the right one of several candidate tokens from those that attend to all or to a fixed one.

    ``w_h(p) = A_h(end, p) |v_h(p) W_O^h| / sum_p'(...)``, at the last token; ``score_h = mean[w_h(right) - mean over the other
    candidates of w_h]``.

    Parameters
    ----------
    subject : Subject
    task : Task
        With a role for each candidate and one for the right token, which is one of them in every prompt.
    candidates : sequence of str
        Roles of at least two candidate tokens, e.g. the labels of the options.
    right : str, default "right"
        Role of the right token, which is one of the candidates in every prompt.
    draws : int, default 999
    seed : int, default 0

    Returns
    -------
    Finding
        Of the head with the largest score. Table: node, layer, head, score with low and high, right (share of w on the right
        token), others (mean share of another candidate), fixed (largest mean share of a single candidate, whichever is right),
        kind ("right", "all", "one" or "none": half of w or more), p, p_max, q.

    Raises
    ------
    UsageError
        When a role is unknown, or the right token is not among the candidates of a prompt.
    SiteError
        When patterns or heads cannot be read.
    NonFinite
        When an attention weight is not a number.

    Notes
    -----
    Null: the right token re-drawn among the candidates of each prompt, largest over heads. A head with a preference for a
    place has score 0.
    Misleads when the right candidate stands more often at one place than at others.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> task = subject.organism.examples(32)
    >>> found = attention_roles(subject, task, ["io", "s1"], right="io")
    >>> bool(found.estimate.value > 0.5), found.table.loc[found.table.score.idxmax(), "kind"]
    (True, 'right')

    References
    ----------
    Lieberum et al. (2023). Does Circuit Analysis Interpretability Scale? https://arxiv.org/abs/2307.09458
    """
    derive(seed)
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    if isinstance(candidates, str) or len(candidates) < 2:
        raise UsageError(f"candidates must name at least two roles, got {candidates!r}.")
    bound = bound_pairs(subject, task)
    columns, wanted = role_columns(bound, list(candidates)), role_columns(bound, [right])
    same = columns == wanted
    if not bool(same.any(dim=1).all()):
        raise UsageError(
            f"the token of role '{right}' is none of the candidates in example {int((~same.any(1)).nonzero()[0])}."
        )
    heads = nodes(subject, "head")
    share = weighted(subject, bound.inputs, columns)
    if not np.isfinite(share).all():
        raise NonFinite("an attention weight or value of the subject is not a number.")
    which = same.long().argmax(dim=1).numpy()
    contrast = _contrast(share, which)
    generator, (n, k) = rng(seed, "attention roles"), columns.shape
    codes, groups = np.unique(bound.groups, return_inverse=True)
    null = np.stack([_contrast(share, generator.integers(0, k, n)).mean(axis=1) for _ in range(draws)])
    family = NullFamily("right token re-drawn among the candidates", null, contrast.mean(axis=1))
    table = _table(heads, share, which, contrast, groups, family, seed)
    at = int(table["score"].to_numpy().argmax())
    row = table.iloc[at]
    return Finding(
        f"{row['node']} attends to '{right}' rather than to the other candidates",
        estimate=Estimate(float(row["score"]), float(row["low"]), float(row["high"]), n=len(codes),
                          unit="share of weighted attention", method="cluster bootstrap over prompt groups"),
        nulls=(Null("right token re-drawn, largest of all heads", family.statistics.max(axis=1), float(row["score"])),),
        table=table,
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed, forwards=1.0),
    )  # fmt: skip


def weighted(subject: Any, inputs: Any, columns: torch.Tensor) -> np.ndarray:
    """Value-weighted attention [head, n, k] from the last token to the tokens `columns` [n, k]; all heads, in order.

    The weight of a token is the norm of what the head would write from it, shares are taken over all tokens.
    """
    blocks, rows = range(subject.facts.blocks), torch.arange(len(inputs))
    record = [f"blocks.{l}.attn.{part}" for l in blocks for part in ("pattern", "v")]
    run = subject.run(inputs, record=record, logits="none")
    frame = inputs.frame
    found = []
    for l in blocks:
        pattern = run[f"blocks.{l}.attn.pattern"][rows, :, frame.stop - 1]  # [n, head, key]
        values = run[f"blocks.{l}.attn.v"]
        values = values.repeat_interleave(pattern.shape[1] // values.shape[2], dim=2)
        size = torch.einsum("nphd,hdm->nhpm", values, output_weights(subject, l)).norm(dim=-1)
        weight = pattern * size
        weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-30)
        picked = weight.gather(2, (columns + frame.start[:, None])[:, None].expand(-1, weight.shape[1], -1))
        found.append(picked.permute(1, 0, 2))
    return torch.cat(found).double().cpu().numpy()


def _contrast(share: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Share on the chosen candidate less the mean share of the others [head, n]."""
    chosen = share[:, np.arange(len(which)), which]
    return chosen - (share.sum(axis=2) - chosen) / (share.shape[2] - 1)


def _table(
    heads: list[Any], share: np.ndarray, which: np.ndarray, contrast: np.ndarray, groups: np.ndarray, family: NullFamily,
    seed: int,
) -> Any:  # fmt: skip
    import pandas as pd

    k = share.shape[2]
    found = [cluster_bootstrap(row, groups, draws=500, seed=seed) for row in contrast]
    right = share[:, np.arange(len(which)), which].mean(axis=1)
    fixed = share.mean(axis=1).max(axis=1)
    total = share.sum(axis=2).mean(axis=1)
    kind = np.where(right >= 0.5, "right", np.where(fixed >= 0.5, "one", np.where(total >= 0.5, "all", "none")))
    table = pd.DataFrame({
        "node": [n.short for n in heads], "layer": [n.layer for n in heads], "head": [n.head for n in heads],
        "score": contrast.mean(axis=1),
        "low": [e.value if e.low is None else min(e.low, e.value) for e in found],
        "high": [e.value if e.high is None else max(e.high, e.value) for e in found],
        "right": right, "others": (total - right) / (k - 1), "fixed": fixed, "kind": kind, "p": family.p, "p_max": family.p_max,
    })  # fmt: skip
    table["q"] = benjamini_hochberg(family.p)
    return table
