"""How much of a behaviour the circuits of a scored graph carry, over their sizes: faithfulness curves, CPR and CMD."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, SubjectMismatch, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.trace.effects import EPSILON
from microtome.trace.graph import ScoredGraph
from microtome.trace.knockout import ABLATIONS
from microtome.trace.masked import masked_metric, reference_values
from microtome.trace.measured import bound_pairs, measured
from microtome.trace.selection import keep_strongest, pruned
from microtome.trace.wires import wires

#: Shares of all edges at which MIB draws its curves.
SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
GRAINS, DIRECTIONS = ("edge", "node"), ("noising", "denoising")


@method(
    question="trace",
    paper=Paper("Mueller, Geiger, Wiegreffe, Arad et al.", 2025, "MIB: A Mechanistic Interpretability Benchmark",
                "https://arxiv.org/abs/2504.13151"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="one forward per size, ablation, grain, direction and random ranking, stacked on the batch",
    claim="The area under the faithfulness curve tells good edge scores from bad ones without a known circuit.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the circuit is the mechanism: another ablation, grain or direction can give another answer. Read the card.",
    tiny={"random": 3},
    skips={},
)  # fmt: skip
def evaluate_circuits(
    subject: Any,
    task: Any,
    graph: ScoredGraph,
    *,
    sizes: Sequence[float] = SIZES,
    ablations: Sequence[str] = ("corrupt",),
    grains: Sequence[str] = ("edge",),
    directions: Sequence[str] = ("noising",),
    random: int = 9,
    metric: str | None = None,
    seed: int = 0,
) -> Finding:
    """Keep the strongest edges, cut all others, and compare with the whole model, for circuits of many sizes.

    ``f(C) = (m(C) - m(0)) / (m(M) - m(0))``; CPR = area under f over the share of edges kept (trapezoid), CMD = area of
    |1 - f|. Circuits are ranked by signed score for CPR and by absolute score for CMD, greedily from the logits, and what
    dangles is cut.

    Parameters
    ----------
    subject : Subject
    task : Task
        Other prompts than those that gave the scores.
    graph : ScoredGraph
    sizes : sequence of float
        Shares of edges (or of nodes), ascending in (0, 1]. Default: MIB's ten.
    ablations : sequence of str
        What cut edges carry: "corrupt" (the paired input), "resample", "mean", "zero".
    grains : sequence of str
        "edge"; "node": senders ranked by the sum of their edges, cut whole.
    directions : sequence of str
        "noising": clean inputs, cut edges carry the reference; "denoising": corrupt inputs, kept edges carry clean values.
    random : int, default 9
        Random rankings of the same sizes, judged under the first setting.
    metric : str, optional
        Default: the task's.
    seed : int, default 0

    Returns
    -------
    Finding
        Estimate: CPR under the first ablation, grain and direction, with an interval over prompt groups. Null: CPR of random
        rankings. Table (the card): ablation, grain, direction, ranking, size, edges, faithfulness as ratio of means with
        interval, and as mean of ratios. Controls: CPR and CMD of every setting.

    Raises
    ------
    SubjectMismatch
        When the scores belong to another subject.
    UsageError
        When a size, ablation, grain or direction is unknown, or one of the lists is empty.
    Degenerate
        When cutting everything does not change the metric.

    Notes
    -----
    Null: random rankings; their faithfulness stays low until nearly all edges are kept.
    Misleads when the scores were fitted on the same prompts, and when one ablation is read as the truth.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> graph = mt.trace.eap_ig(subject, subject.organism.examples(24))
    >>> found = mt.trace.evaluate_circuits(subject, subject.organism.examples(24, 1), graph)
    >>> found.estimate.value > 0.8, found.verdict
    (True, 'supported')

    References
    ----------
    Mueller, Geiger, Wiegreffe, Arad et al. (2025). MIB: A Mechanistic Interpretability Benchmark.
    https://arxiv.org/abs/2504.13151
    Miller, Chughtai, Saunders (2024). Transformer Circuit Faithfulness Metrics are not Robust. https://arxiv.org/abs/2407.08734
    """
    import pandas as pd

    _check(sizes, ablations, grains, directions, random)
    known = subject.fingerprint()
    if graph.subject and graph.subject != known:
        raise SubjectMismatch("the scores belong to another subject; score the edges of this one.")
    judge = _Judge(subject, task, graph, sizes, metric, seed)
    rows, controls, estimate = [], {}, None
    for ablation in ablations:
        for direction in directions:
            for grain in grains:
                for absolute in (False, True):
                    masks = judge.ranked(judge.values(grain), grain, absolute=absolute)
                    curve = judge.curve(masks, ablation, direction)
                    name = f"{'CMD' if absolute else 'CPR'} {ablation} {grain} {direction}"
                    area = curve.area(sizes, absolute, seed)
                    controls[name] = area.value
                    estimate = estimate or area
                    rows += curve.rows({"ablation": ablation, "grain": grain, "direction": direction,
                                        "ranking": "absolute" if absolute else "signed"}, sizes, masks, seed)  # fmt: skip
    null = judge.random(random, grains[0], ablations[0], directions[0], sizes, seed)
    return Finding(
        f"circuits of the edges ranked by {graph.name} carry '{task.name}'", estimate=estimate,
        nulls=(Null("random rankings of the same sizes", null, estimate.value, "greater"),),  # type: ignore[union-attr]
        controls=controls, table=pd.DataFrame(rows),
        provenance=Provenance(subject=known, data=task.fingerprint(), seed=seed, forwards=judge.forwards),
    )  # fmt: skip


def _check(sizes: Any, ablations: Any, grains: Any, directions: Any, random: int) -> None:
    for what, given, known in (("ablations", ablations, ABLATIONS), ("grains", grains, GRAINS),
                               ("directions", directions, DIRECTIONS)):  # fmt: skip
        if isinstance(given, str) or not given or any(g not in known for g in given):
            raise UsageError(f"{what} must be a list of at least one of {known}, got {given!r}.")
    if len(sizes) < 2 or list(sizes) != sorted(set(sizes)) or not 0 < sizes[0] <= sizes[-1] <= 1:
        raise UsageError(f"sizes must be at least two ascending shares in (0, 1], got {sizes!r}.")
    if random < 1:
        raise UsageError(f"random must be at least 1, got {random}.")


class _Curve:
    """Metric values [sizes, n] of circuits, of the whole model and of nothing [n]."""

    def __init__(self, kept: np.ndarray, whole: np.ndarray, none: np.ndarray, groups: np.ndarray) -> None:
        self.kept, self.whole, self.none, self.groups = kept, whole, none, groups
        span = float((whole - none).mean())
        if not abs(span) >= EPSILON:
            raise Degenerate(f"cutting every edge changes the metric by {span:.1e}: these edges do not carry the behaviour.")

    def area(self, sizes: Sequence[float], distance: bool, seed: int) -> Estimate:
        """CPR, or CMD for `distance`, with a percentile interval over resampled prompt groups."""
        codes = np.unique(self.groups, return_inverse=True)[1]
        count = int(codes.max()) + 1
        draws = rng(seed, "area").multinomial(count, np.full(count, 1 / count), size=999)[:, codes]
        weights = np.concatenate([np.ones((1, len(codes))), draws])
        below = weights @ (self.whole - self.none)
        below = np.where(np.abs(below) < 1e-12, np.nan, below)
        f = weights @ (self.kept - self.none).T / below[:, None]
        areas = np.trapezoid(np.abs(1 - f) if distance else f, sizes, axis=1)
        low, high = np.nanpercentile(areas[1:], [2.5, 97.5])
        value = float(areas[0])
        if count < 2:
            return Estimate(value, n=1, unit="area", method="one group of prompts: no interval")
        return Estimate(value, min(float(low), value), max(float(high), value), n=count, unit="area",
                        method="bootstrap over prompt groups")  # fmt: skip

    def rows(self, setting: dict[str, str], sizes: Sequence[float], masks: np.ndarray, seed: int) -> list[dict[str, Any]]:
        """One row of the card per size."""
        from microtome.trace.share import share_of

        whole = self.whole - self.none
        each = (self.kept - self.none) / np.where(np.abs(whole) < EPSILON, np.nan, whole)
        out = []
        for size, mask, kept, ratio in zip(sizes, masks, self.kept, each):
            found = share_of(kept - self.none, whole, list(self.groups), seed)
            out.append({**setting, "size": size, "edges": int(mask.sum()), "ratio_of_means": found.value, "low": found.low,
                        "high": found.high, "mean_of_ratios": float(np.nanmean(ratio)) if np.isfinite(ratio).any() else np.nan,
                        "metric": float(kept.mean())})  # fmt: skip
        return out


class _Judge:
    """The metric of many circuits of one graph on one task."""

    def __init__(self, subject: Any, task: Any, graph: ScoredGraph, sizes: Sequence[float], metric: str | None, seed: int):
        self.subject, self.graph, self.sizes, self.seed = subject, graph, sizes, seed
        self.bound, self.wires = bound_pairs(subject, task, metric), wires(subject)
        self.forwards = 2.0
        self.ends = {"noising": measured(subject, self.bound.inputs, self.bound.metric)[1],
                     "denoising": measured(subject, self.bound.corrupt, self.bound.metric)[1]}  # fmt: skip
        self.cache: dict[tuple[str, str], Any] = {}

    def values(self, grain: str) -> np.ndarray:
        """What ranks edges, or senders."""
        return self.graph.scores if grain == "edge" else self.graph.sent

    def ranked(self, values: np.ndarray, grain: str, *, absolute: bool) -> np.ndarray:
        """bool [sizes, senders, receivers]: circuits of every size."""
        values = np.abs(values) if absolute else values
        allowed, into = self.graph.allowed, self.graph.into
        if grain == "node":
            order = np.argsort(-values, kind="stable")
            kept = np.stack([np.isin(np.arange(len(values)), order[: max(1, round(s * len(values)))]) for s in self.sizes])
            return kept[:, :, None] & allowed
        total = int(allowed.sum())
        return np.stack([allowed if s >= 1 else pruned(keep_strongest(values, allowed, max(1, round(s * total)), into,
                                                                      greedy=True), into) for s in self.sizes])  # fmt: skip

    def curve(self, masks: np.ndarray, ablation: str, direction: str) -> _Curve:
        """The metric of all circuits; those of all and of no edges are computed with them."""
        empty = np.zeros_like(masks[:1])
        found = self.metric(np.concatenate([masks, empty]), ablation, direction)
        whole = self.ends["noising"] if direction == "noising" else self.metric(self.graph.allowed[None], ablation, direction)[0]
        return _Curve(found[:-1], whole, found[-1], np.asarray(self.bound.groups))

    def metric(self, masks: np.ndarray, ablation: str, direction: str) -> np.ndarray:
        """Metric [masks, n]; equal masks once."""
        key = (ablation, direction)
        if key not in self.cache:
            self.cache[key] = reference_values(self.subject, self.bound, self.wires, ablation, self.seed, direction=direction)  # type: ignore[arg-type]
        different, back = np.unique(masks.reshape(len(masks), -1), axis=0, return_inverse=True)
        shaped = torch.from_numpy(different.reshape(-1, *masks.shape[1:]))
        if direction == "denoising":  # kept edges carry clean values in a corrupt run
            shaped = ~shaped
        inputs = self.bound.inputs if direction == "noising" else self.bound.corrupt
        self.forwards += len(shaped)
        found = masked_metric(self.subject, inputs, self.bound.metric, self.wires, self.cache[key], shaped.float())
        return found.double().cpu().numpy()[back.ravel()]

    def random(self, draws: int, grain: str, ablation: str, direction: str, sizes: Sequence[float], seed: int) -> list[float]:
        """CPR of random rankings."""
        stream = rng(seed, "random rankings")
        out = []
        for _ in range(draws):
            values = stream.random(self.values(grain).shape)
            out.append(self.curve(self.ranked(values, grain, absolute=False), ablation, direction).area(sizes, False, seed).value)
        return out
