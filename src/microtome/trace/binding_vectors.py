"""Binding vectors: what tells the first entity (or attribute) of a context from the second, whatever they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import NonFinite, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance, cluster_bootstrap
from microtome.method import method
from microtome.rng import derive, torch_rng
from microtome.trace.head_mediation import role_columns
from microtome.trace.measured import bound_pairs
from microtome.trace.span_patching import FENG
from microtome.trace.spans import moved, set_tokens, stream_sites

Vectors = Mapping[str, Tensor]


@method(
    question="trace",
    paper=FENG,
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="two forwards, then one forward per intervention and random draw",
    claim="Adding the mean difference of two entities' activations exchanges what they are bound to.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the vectors bind more than the pairs of places that they were measured at.",
    tiny={"entities": ("key", "end"), "attributes": ("end", "key"), "draws": 5},
    skips={"truth": "it needs a network that binds pairs; one head that copies a token binds nothing",
           "null": "it needs a network that binds pairs; an untrained one exchanges at random"},
)  # fmt: skip
def binding_vectors(
    subject: Any,
    task: Any,
    *,
    entities: Sequence[str] = ("entity0", "entity1"),
    attributes: Sequence[str] = ("attribute0", "attribute1"),
    draws: int = 20,
    seed: int = 0,
) -> Finding:
    """Exchange two bindings by moving two tokens along the mean difference of their activations at all layers.

    ``D_E = mean(Z_E1 - Z_E0)`` over one half of the prompts, Z the residual streams before all blocks; on the other half
    ``Z_E0 + D_E`` and ``Z_E1 - D_E`` replace Z_E0 and Z_E1, or the same for attributes, or both.

    Parameters
    ----------
    subject : Subject
    task : Task
        Asks for the attribute of one of two entities: `answers` is its own, `wrong` that of the other.
    entities, attributes : pair of str, default ("entity0", "entity1"), ("attribute0", "attribute1")
        Roles of the two entities and their attributes in the context.
    draws : int, default 20
        Random vectors of the same norm at each layer.
    seed : int, default 0
        Of the split, the random vectors and the intervals.

    Returns
    -------
    Finding
        Of the exchange by entities. Table: intervention, exchanged (share of prompts that prefer the other's attribute) with
        low and high, difference (mean of the metric). "both" should leave the bindings as they were.

    Raises
    ------
    UsageError
        When the roles are not two of each, or missing.
    SiteError
        When the subject has no residual stream.
    NonFinite
        When the metric is not a number.
    Degenerate
        When there is one group of prompts only.

    Notes
    -----
    Null: random vectors of equal norm at the two entities exchange nothing.
    Misleads when entities are told apart by the words beside them: then there is no vector of their place to exchange.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = binding_vectors(planted.subject, planted.task, entities=["key", "end"], attributes=["end", "key"], draws=3)
    >>> found.table["intervention"].tolist()
    ['none', 'entities', 'attributes', 'both', 'random']

    References
    ----------
    Feng, Steinhardt (2024). How do Language Models Bind Entities in Context? https://arxiv.org/abs/2310.17191
    """
    derive(seed)
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    for name, roles in (("entities", entities), ("attributes", attributes)):
        if isinstance(roles, str) or len(roles) != 2:
            raise UsageError(f"{name} must be two roles, got {roles!r}.")
    fitted, held = task.split(seed)
    vectors = {
        names: difference(subject, bound_pairs(subject, fitted), names) for names in (tuple(entities), tuple(attributes))
    }
    bound, sites = bound_pairs(subject, held), stream_sites(subject)
    run = subject.run(bound.inputs, record=sites, logits="none")
    values = {site: run[site] for site in sites}
    generator = torch_rng(seed, "binding vectors")

    def exchange(*pairs: tuple[tuple[str, ...], Vectors]) -> list[Any]:
        changes = []
        for names, change in pairs:
            first, second = role_columns(bound, names).T
            changes += [(first, change), (second, {s: -v for s, v in change.items()})]
        return set_tokens(moved(values, changes), [columns for columns, _ in changes])

    by_entity, by_attribute = vectors.items()
    sets = [exchange(by_entity), exchange(by_attribute), exchange(by_entity, by_attribute)]
    sets += [exchange((by_entity[0], random_like(by_entity[1], generator))) for _ in range(draws)]
    swept = subject.sweep(bound.inputs, sets, bound.metric)
    metric = np.concatenate([swept.base[None].double().numpy(), swept.values.double().numpy()])
    if not np.isfinite(metric).all():
        raise NonFinite("the metric under an intervention is not a number.")
    table = _table(metric, np.asarray(bound.groups), seed)
    row = table.iloc[1]
    return Finding(
        f"moving {' and '.join(entities)} along their mean difference exchanges what they are bound to",
        estimate=Estimate(float(row["exchanged"]), float(row["low"]), float(row["high"]), n=len(set(bound.groups)),
                          unit="share of prompts", method="cluster bootstrap over prompt groups"),
        nulls=(Null("random vectors of equal norm", (metric[4:] < 0).mean(axis=1), float(row["exchanged"])),),
        controls={"exchanged by entities and attributes": float(table["exchanged"].iloc[3])}, table=table,
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed, forwards=2 + swept.forwards),
    )  # fmt: skip


def difference(subject: Any, bound: Any, roles: Sequence[str]) -> dict[str, Tensor]:
    """Mean over prompts of the second role's activation less the first's, by site [d]."""
    sites, rows = stream_sites(subject), torch.arange(len(bound))
    run = subject.run(bound.inputs, record=sites, logits="none")
    first, second = role_columns(bound, roles).T
    return {s: (run[s][rows, second] - run[s][rows, first]).mean(dim=0) for s in sites}


def random_like(vectors: Vectors, generator: torch.Generator) -> dict[str, Tensor]:
    """Random vectors with the norms of `vectors`."""
    out = {}
    for site, vector in vectors.items():
        noise = torch.randn(vector.shape, generator=generator).to(vector)
        out[site] = noise / noise.norm() * vector.norm()
    return out


def _table(metric: np.ndarray, groups: np.ndarray, seed: int) -> Any:
    import pandas as pd

    other = (metric < 0).astype(float)
    rows = [*zip(("none", "entities", "attributes", "both"), other, metric), ("random", other[4:].mean(0), metric[4:].mean(0))]
    found = [cluster_bootstrap(share, groups, draws=500, seed=seed) for _, share, _ in rows]
    return pd.DataFrame({
        "intervention": [name for name, _, _ in rows], "exchanged": [e.value for e in found],
        "low": [e.value if e.low is None else min(e.low, e.value) for e in found],
        "high": [e.value if e.high is None else max(e.high, e.value) for e in found],
        "difference": [float(values.mean()) for _, _, values in rows],
    })  # fmt: skip
