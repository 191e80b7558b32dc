"""Successor heads: heads whose weights alone turn a token of an ordered list into the next one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.evidence import Estimate, Finding, Null, NullFamily, Provenance, benjamini_hochberg, bootstrap
from microtome.method import Paper, method
from microtome.rng import derive, rng
from microtome.trace.ov import heads_after, ov_logits, token_vectors


@method(
    question="trace",
    paper=Paper("Gould, Ong, Ogden, Conmy", 2023, "Successor Heads: Recurring, Interpretable Attention Heads In The Wild",
                "https://arxiv.org/abs/2312.09230"),
    needs=("subject", "tokens"),
    gives="Finding",
    stochastic=True,
    cost="one forward of single tokens, one product of each head's output with the unembedding",
    claim="A few heads map any token of an ordered list, through the first MLP and their OV circuit, to its successor.",
    notion="transparency",
    serves="causality",
    cannot_claim="That the head attends to such tokens in text: only what it would write if it did.",
    tiny={"step": 0, "through": "embed", "draws": 199},
)  # fmt: skip
def successor_heads(
    subject: Any,
    sequences: Mapping[str, Sequence[int]],
    *,
    step: int = 1,
    through: str = "blocks.0.mlp.out",
    draws: int = 999,
    seed: int = 0,
) -> Finding:
    """Score each head by how often its weights map a token to the one `step` places further in its list.

    ``logits_h(t) = W_U norm_f(W_O^h W_V^h norm_l(MLP_0(W_E t)))``; the score of h is the share of tokens t for which, among
    the tokens of t's list, the largest logit is that of the token `step` places after t.

    Parameters
    ----------
    subject : Subject
        A decoder with attention heads.
    sequences : mapping of str to sequence of int
        Token ids of each ordered list (days, months, numbers), at least three each; single tokens only.
    step : int, default 1
        1 = successor heads (the paper), 0 = copying heads, -1 = predecessor heads.
    through : str, default "blocks.0.mlp.out"
        Where the vectors come from: the first MLP's output (the paper), "blocks.0.resid_post" or "embed". Attention up to
        there is switched off. Heads of later blocks are scored.
    draws : int, default 999
        Of the null.
    seed : int, default 0

    Returns
    -------
    Finding
        Of the best head. Table: node, layer, head, score with low and high, worst (lowest score of a list), free (share where
        the largest logit of the whole vocabulary is right), p, p_max (family-wise), q.

    Raises
    ------
    UsageError
        When a list is too short, repeats a token, or names one outside the vocabulary.
    SiteError
        When no head comes after `through`.
    NonFinite
        When weights are not numbers.

    Notes
    -----
    Null: the right tokens permuted within each list; in a network with random weights a head is right once per list length.
    Misleads when embeddings alone carry the order and the MLP is left out, and when lists hold words of several tokens.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = successor_heads(planted.subject, {"keys": range(8)}, step=0, through="embed")
    >>> best = found.table.loc[found.table.score.idxmax()]
    >>> (int(best.layer), int(best["head"])) == (planted.block, planted.head), float(best.score)
    (True, 1.0)

    References
    ----------
    Gould, Ong, Ogden, Conmy (2023). Successor Heads: Recurring, Interpretable Attention Heads In The Wild.
    https://arxiv.org/abs/2312.09230
    """
    derive(seed)
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    lists = _checked(subject, sequences, step)
    heads = heads_after(subject, through)
    vectors = token_vectors(subject, [t for tokens in lists.values() for t in tokens], through)
    logits = ov_logits(subject, vectors, heads)
    right, free, family = _scored(logits, list(lists.values()), step, draws, seed)
    at = int(right[0].mean(axis=1).argmax())
    table = _table(heads, right, free, family, seed)
    row = table.iloc[at]
    of = {0: "itself", 1: "the next", -1: "the one before"}.get(step, f"the one {step} places further")
    controls = {"score of the other heads": float(np.delete(table["score"], at).max()) if len(table) > 1 else 0.0,
                **_wrapped(logits[at], lists, step)}  # fmt: skip
    return Finding(
        f"{row['node']} maps tokens of {len(lists)} ordered lists to {of}",
        estimate=Estimate(float(row["score"]), float(row["low"]), float(row["high"]), n=right[0].shape[1],
                          unit="share of tokens", method="percentile bootstrap over tokens"),
        nulls=(Null("right tokens permuted within their list, best head", family.statistics.max(axis=1), float(row["score"])),),
        controls=controls, table=table,
        provenance=Provenance(subject=subject.fingerprint(), data=", ".join(lists), seed=seed, forwards=2.0),
    )  # fmt: skip


def _checked(subject: Any, sequences: Any, step: int) -> dict[str, list[int]]:
    if not isinstance(sequences, Mapping) or not sequences:
        raise UsageError("sequences must map names to ordered token ids, e.g. {'days': [12, 40, 7]}.")
    lists = {str(k): [int(t) for t in v] for k, v in sequences.items()}
    vocab = subject.facts.vocab
    for name, tokens in lists.items():
        if len(tokens) < max(3, abs(step) + 2) or len(set(tokens)) < len(tokens):
            raise UsageError(f"list '{name}' needs at least {max(3, abs(step) + 2)} different tokens, got {tokens[:8]}.")
        if min(tokens) < 0 or max(tokens) >= vocab:
            raise UsageError(f"list '{name}' names a token outside the vocabulary of {vocab}.")
    return lists


def _scored(
    logits: torch.Tensor, lists: list[list[int]], step: int, draws: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray, NullFamily]:
    """Per list hits [head, token] (first entry: all lists together), hits in the whole vocabulary, and the null."""
    hits, null, free, start = [], np.zeros((draws, len(logits))), [], 0
    generator = rng(seed, "successor heads")
    for tokens in lists:
        rows = logits[:, start : start + len(tokens)]
        start += len(tokens)
        sources = np.arange(max(0, -step), len(tokens) - max(0, step))
        best = rows[:, sources][..., tokens].argmax(-1).cpu().numpy()
        hits.append(best == sources + step)
        wanted = np.array(tokens)[sources + step]
        free.append(rows[:, sources].argmax(-1).cpu().numpy() == wanted)
        orders = generator.permuted(np.tile(sources + step, (draws, 1)), axis=1)
        null += (best[None] == orders[:, None]).sum(axis=2)
    total = np.concatenate(hits, axis=1)
    family = NullFamily("right tokens permuted within their list", null / total.shape[1], total.mean(axis=1))
    return [total, *hits], np.concatenate(free, axis=1), family


def _table(heads: list[Any], right: list[np.ndarray], free: np.ndarray, family: NullFamily, seed: int) -> Any:
    import pandas as pd

    found = [bootstrap(row.astype(float), draws=500, seed=seed) for row in right[0]]
    table = pd.DataFrame({
        "node": [n.short for n in heads], "layer": [n.layer for n in heads], "head": [n.head for n in heads],
        "score": family.observed, "low": [min(e.low or 0.0, e.value) for e in found],
        "high": [max(e.high or 0.0, e.value) for e in found],
        "worst": np.min([r.mean(axis=1) for r in right[1:]], axis=0), "free": free.mean(axis=1),
        "p": family.p, "p_max": family.p_max,
    })  # fmt: skip
    table["q"] = benjamini_hochberg(family.p)
    return table


def _wrapped(logits: torch.Tensor, lists: dict[str, list[int]], step: int) -> dict[str, float]:
    """Whether the best head goes from the end of a list to its beginning: kept apart, as most lists have no such step."""
    if step != 1:
        return {}
    ends = np.cumsum([len(t) for t in lists.values()]) - 1
    back = [int(logits[end][tokens].argmax()) == 0 for end, tokens in zip(ends, lists.values())]
    return {"last to first": float(np.mean(back))}
