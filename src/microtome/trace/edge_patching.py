"""Exact effects of edges, many stacked on the batch: what the approximate scorers are compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, SubjectMismatch, UsageError
from microtome.rng import rng
from microtome.subject.fingerprint import current_fingerprint
from microtome.trace.edges import Edge
from microtome.trace.effects import Effects
from microtome.trace.graph import ScoredGraph
from microtome.trace.masked import masked_metric
from microtome.trace.measured import bound_pairs, measured
from microtome.trace.reference import reference_values
from microtome.trace.wires import wires


def edge_effects(subject: Any, task: Any, edges: Sequence[Edge], *, metric: str | None = None, seed: int = 0) -> Effects:
    """Exact noising effects of edges: ``m(clean) - m(clean with the corrupt value of u on the edge to v)``.

    One forward per edge, stacked on the batch; equal to ``activation_patching(..., nodes=edges, direction="noising")``.
    """
    bound, graph = bound_pairs(subject, task, metric), wires(subject)
    row = {n: i for i, n in enumerate(graph.senders)}
    column = {n: j for j, n in enumerate(graph.receivers)}
    unknown = [str(e) for e in edges if e.sender not in row or e.receiver not in column]
    if unknown or not edges:
        raise UsageError(f"no such edges in {subject.name}: {unknown[:3]}." if edges else "no edges were given.")
    masks = torch.ones(len(edges), *graph.allowed.shape)
    for k, edge in enumerate(edges):
        masks[k, row[edge.sender], column[edge.receiver]] = 0.0
    _, clean = measured(subject, bound.inputs, bound.metric)
    _, corrupt = measured(subject, bound.corrupt, bound.metric)
    reference = reference_values(subject, bound, graph, "corrupt")
    # Edges into one place are stacked together, so that only that place is computed apart.
    order = sorted(range(len(edges)), key=lambda k: column[edges[k].receiver])
    found = np.empty((len(edges), len(bound)))
    found[order] = masked_metric(subject, bound.inputs, bound.metric, graph, reference, masks[order]).double().cpu().numpy()
    return Effects(
        list(edges), clean - found, clean - corrupt, np.asarray(bound.groups), "edge patching (noising)",
        bound.metric.name, task.name, current_fingerprint(subject), True, 3.0 + len(edges), seed, (), task.fingerprint(),
    )  # fmt: skip


def sampled_agreement(
    graph: ScoredGraph, subject: Any, task: Any, top: int = 20, random: int = 20, seed: int = 0
) -> dict[str, float]:
    """Scores beside exact effects on the `top` strongest and `random` other edges.

    Returns
    -------
    dict
        pearson and spearman over the sample, sign (share of the top edges with the right sign), edges (how many).

    Raises
    ------
    SubjectMismatch
        When the graph belongs to another subject.
    Degenerate
        When all scores, or all effects, of the sample are equal.
    """
    from scipy.stats import pearsonr, spearmanr

    if graph.subject and graph.subject != current_fingerprint(subject):
        raise SubjectMismatch("the scores belong to another subject; score its edges again.")
    best = graph.top(top)
    chosen = set(best)
    rest = [e for e in graph.edges if e not in chosen]
    draw = rng(seed, "agreement").choice(len(rest), min(random, len(rest)), replace=False) if rest else []
    edges = [*best, *(rest[i] for i in sorted(draw))]
    exact = edge_effects(subject, task, edges, metric=graph.metric, seed=seed).change.mean(axis=1)
    score = np.array([graph.score(e) for e in edges])
    if len(edges) < 3 or score.std() == 0 or exact.std() == 0:
        raise Degenerate(f"scores or exact effects of {len(edges)} edges are all equal, so they cannot be compared.")
    same = np.sign(score[: len(best)]) == np.sign(exact[: len(best)])
    return {"pearson": float(pearsonr(score, exact)[0]), "spearman": float(spearmanr(score, exact)[0]),
            "sign": float(same.mean()), "edges": float(len(edges))}  # fmt: skip
