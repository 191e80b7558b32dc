"""Which representations of a group a network's tables are made of (Chughtai, Chan, Nanda 2023)."""

from typing import Any

import torch
from torch import Tensor

from microtome.decompose.given import matrix_of, require_draws
from microtome.decompose.irreps import fit_characters, irreps, variance_by_irrep
from microtome.errors import ShapeError, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import torch_rng


@method(
    question="decompose",
    paper=Paper("Chughtai, Chan, Nanda", 2023,
                "A Toy Model of Universality: Reverse Engineering How Networks Learn Group Operations",
                "https://arxiv.org/abs/2302.03025"),
    needs=("values",),
    gives="Finding",
    stochastic=True,
    cost="O(order^3) for the representations, O(order * d) for each draw",
    claim="Embeddings lie in the matrix entries of a few irreducible representations, and logits are made of their characters.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network multiplies matrices: ablate the entries, or read its neurons.",
    tiny={"draws": 19},
)  # fmt: skip
def group_composition_reps(
    embeddings: Any, table: Tensor, *, logits: Tensor | None = None, held: float = 0.9, draws: int = 99, seed: int = 0
) -> Finding:
    """Split the variance of embeddings over the elements of a group by the irreducible representations of the group.

    The smallest set of representations that holds `held` of the variance is compared with the share of dimensions it spans,
    ``held variance - sum of dimensions / (order - 1)``: 0 for embeddings that know nothing of the group.

    Parameters
    ----------
    embeddings : Tensor[order, d]
        One row per element: an embedding, an unembedding, or activations averaged over the other factor.
    table : LongTensor[order, order]
        Entry (a, b) is the number of a b; element 0 is the unit. See `stimuli.algorithmic.groups`.
    logits : Tensor[order^2, order], optional
        For every pair (row ``a order + b``); how much the characters ``chi(a b c^-1)`` of the same set explain is a control.
    held : float
        Share of the variance that the set must hold. Default 0.9.
    draws : int
        Renamings. Default 99.
    seed : int
        Of the renamings, and of the matrix by which representations are found. Default 0.

    Returns
    -------
    Finding
        Table, largest share first: representation (its place by dimension), dim, dimensions (of the space its entries span),
        character (of element 1), share, by_chance (its share of dimensions), chosen.

    Raises
    ------
    UsageError
        When the table is not that of a group, held is not in (0, 1), or draws < 1.
    ShapeError
        When embeddings or logits do not have the size of the group.
    NonFinite
        When an embedding is NaN or infinite.
    Degenerate
        When embeddings do not vary.

    Notes
    -----
    Null: the elements renamed at random; the set is chosen anew in each draw.
    Misleads when embeddings are as wide as the group: all representations are then held alike, whatever is used.

    Examples
    --------
    >>> from microtome.stimuli.algorithmic.groups import cyclic
    >>> angle = 2 * torch.pi * 3 * torch.arange(11) / 11
    >>> found = group_composition_reps(torch.stack([angle.cos(), angle.sin()], 1), cyclic(11), draws=19)
    >>> found.verdict, int(found.table["chosen"].sum()), round(float(found.table["character"][0]), 4)
    ('supported', 1, -0.2846)

    References
    ----------
    Chughtai, Chan, Nanda (2023). A Toy Model of Universality: Reverse Engineering How Networks Learn Group Operations.
    https://arxiv.org/abs/2302.03025
    """
    import pandas as pd

    require_draws(draws)
    if not 0 < held < 1:
        raise UsageError(f"held must be in (0, 1), got {held}.")
    x, order = matrix_of(embeddings, "embeddings", least=2), len(table)
    if len(x) != order or (logits is not None and tuple(logits.shape) != (order**2, order)):
        found = "" if logits is None else f", logits {list(logits.shape)}"
        raise ShapeError(f"the group has {order} elements; embeddings are {list(x.shape)}{found}.")
    every = irreps(torch.as_tensor(table), seed=seed)
    spans = torch.tensor([rho.functions.shape[1] for rho in every], dtype=torch.float64) / (order - 1)
    spans[0] = 0.0  # the trivial one holds nothing once centred
    shares = variance_by_irrep(x, every)
    chosen, observed = _smallest(shares, spans, held)
    g = torch_rng(seed, "decompose", "group_composition_reps")
    chance = [_smallest(variance_by_irrep(x[torch.randperm(order, generator=g)], every), spans, held)[1] for _ in range(draws)]
    controls = {"representations": float(len(every)), "chosen": float(len(chosen)), "held": float(shares[chosen].sum())}
    if logits is not None:
        y = matrix_of(logits, "logits")
        controls["logits_explained"] = fit_characters(y, torch.as_tensor(table), [every[i] for i in chosen])[1]
    rows = shares.argsort(descending=True, stable=True).tolist()
    return Finding(
        f"{len(chosen)} of {len(every)} representations of the group hold {controls['held']:.0%} of the variance.",
        estimate=Estimate(observed, n=order, unit="share of variance beyond dimensions", method="exact"),
        nulls=(Null("elements renamed at random", chance, observed),), controls=controls,
        table=pd.DataFrame({
            "representation": rows, "dim": [every[i].dim for i in rows],
            "dimensions": [every[i].functions.shape[1] for i in rows],
            "character": [float(every[i].character[min(1, order - 1)]) for i in rows],
            "share": shares[rows].numpy(), "by_chance": spans[rows].numpy(), "chosen": [i in chosen for i in rows],
        }),
        provenance=Provenance(seed=seed),
    )  # fmt: skip


def _smallest(shares: Tensor, spans: Tensor, held: float) -> tuple[list[int], float]:
    """Representations in order of their share until they hold enough, and what they hold beyond their dimensions."""
    order = shares.argsort(descending=True, stable=True)
    count = min(len(order), int((shares[order].cumsum(0) < held).sum()) + 1)
    chosen = order[:count]
    return chosen.tolist(), float((shares[chosen] - spans[chosen]).sum())
