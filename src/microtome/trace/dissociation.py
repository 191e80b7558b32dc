"""Double dissociation: parts of a network that one task needs and the other does not, and the reverse."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import UsageError
from microtome.evidence import Finding, Null, Provenance, permutation_family
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.trace.drawn import as_accuracy, estimated, resampled_means
from microtome.trace.knockout import Ablation, metric_under, references
from microtome.trace.listing import Kind, as_nodes
from microtome.trace.measured import bound_pairs, shared_length
from microtome.trace.nodes import Node

if TYPE_CHECKING:
    from microtome.subject.basis import Basis

Nodes = tuple[Node, ...]
Lost = Callable[[list[Nodes]], tuple[float, np.ndarray]]
#: Tasks whose accuracies differ by more than this are not matched in difficulty.
MATCHED = 0.1


@method(
    question="trace",
    paper=Paper("Fartale et al.", 2025, "Disentangling Recall and Reasoning in Transformer Models through Layer-wise "
                "Attention and Activation Analysis", "https://arxiv.org/abs/2510.03366"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="the suffix of one forward of each task per node, and per random set on the held-out prompts",
    claim="Ablating what is selective for one of two tasks lowers that task and spares the other, in both directions.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the two tasks share nothing: what both need is in neither set.",
    tiny={"nodes": "head", "size": 1, "draws": 39},
)  # fmt: skip
def dissociation(
    subject: Any,
    task: Any,
    other: Any,
    *,
    nodes: "Kind | Basis | Iterable[Node | str]" = "component",
    size: int = 3,
    ablation: Ablation = "mean",
    share: float = 0.5,
    draws: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Find the nodes that each of two tasks needs more than the other does, and test both sets on unseen prompts.

    On the first part of the prompts, ``s(v) = [p_1 - p_1(without v)] - [p_2 - p_2(without v)]``, p = mean probability of the
    answer (the smooth form of accuracy). Set 1 starts with the largest s and grows by the node that raises s of the whole set
    most, while one does, up to `size`; set 2 likewise with -s. (Sorting by s alone takes nodes that both tasks need.) On the
    rest, with accuracies a: ``arm 1 = drop of a_1 - drop of a_2 without set 1``, arm 2 the reverse without set 2. The
    statistic is the smaller arm: a double dissociation needs both.

    Parameters
    ----------
    subject : Subject
    task, other : Task
        The two tasks; matched in accuracy, else a note says so.
    nodes : str, Basis, or iterable of Node or str
        As in `activation_patching`. Default "component": heads and MLPs.
    size : int, default 3
        Nodes per set, at most.
    ablation : {"mean", "resample", "zero", "corrupt"}
        What ablated nodes are set to. Zero leaves the distribution.
    share : float, default 0.5
        Part of the prompt groups on which the nodes are chosen.
    draws : int, default 199
        Pairs of random sets of the null.
    alpha : float, default 0.05
    seed : int, default 0
        Of the split, the sets and the intervals.

    Returns
    -------
    Finding
        Estimate: the smaller arm, in accuracy, with its interval over prompt groups. Null: the same of random sets of equal
        sizes. Controls: both arms, accuracies, and the 2 x 2 matrix of drops. Table of the nodes: effect = s with interval, p
        and q (prompts exchanged between the tasks), the drop on each task, and the set.

    Raises
    ------
    UsageError
        When an option is unknown or the sets would overlap.
    Degenerate
        When a task has fewer than two groups of prompts.

    Notes
    -----
    Null: in a network that does neither task no set lowers anything, and p = 1.
    Misleads when one task is harder: what is fragile then looks selective. Match the accuracies.

    Examples
    --------
    >>> from microtome.testing.planted_pair import planted_pair
    >>> two = planted_pair(0)                                      # one head for each task
    >>> found = dissociation(two.subject, two.task, two.other, nodes="head", size=1, draws=39)
    >>> found.verdict, found.table.set_index("set").loc[["first", "second"], "node"].tolist() == two.heads
    ('supported', True)

    References
    ----------
    Fartale et al. (2025). Disentangling Recall and Reasoning in Transformer Models through Layer-wise Attention and
    Activation Analysis. https://arxiv.org/abs/2510.03366
    """
    both = [bound_pairs(subject, t) for t in (task, other)]
    wanted = as_nodes(subject, nodes, min(map(shared_length, both)))
    if not 0 < size <= len(wanted) // 2:
        raise UsageError(f"size must be between 1 and {len(wanted) // 2}, half of the {len(wanted)} nodes, got {size}.")
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}.")
    halves = [t.split(seed, share) for t in (task, other)]
    known = [_drops(subject, half, ablation, seed, "probability") for half, _ in halves]
    chosen = [lost([(n,) for n in wanted])[1] for lost in known]
    selective = chosen[0].mean(1) - chosen[1].mean(1)
    sets = [_grown(known, wanted, sign * selective, sign, size) for sign in (1.0, -1.0)]
    random = _random_sets(wanted, [len(s) for s in sets], draws, seed)
    tested = [_drops(subject, held, ablation, seed, "accuracy")([*sets, *random]) for _, held in halves]
    (base_1, drop_1), (base_2, drop_2) = tested
    arms = _arms(drop_1.mean(1), drop_2.mean(1))
    spread = [resampled_means(d, half[1].groups, 999, seed, "dissociation", name)
              for d, half, name in ((drop_1[:2], halves[0], "first"), (drop_2[:2], halves[1], "second"))]  # fmt: skip
    spread_arms = _arms(spread[0].T, spread[1].T)
    n = min(len(set(half[1].groups)) for half in halves)
    estimates = [estimated(a, s, n, "accuracy", "bootstrap over prompt groups") for a, s in zip(arms, spread_arms)]
    weaker = estimated(min(arms), np.minimum(*spread_arms), n, "accuracy", "bootstrap over prompt groups, smaller arm")
    gain = drop_1.mean(1)[2:] - drop_2.mean(1)[2:]
    null = Null(f"pairs of random sets of {len(sets[0])} and {len(sets[1])} nodes", np.minimum(gain[:draws], -gain[draws:]),
                min(arms))  # fmt: skip
    gap = abs(base_1 - base_2)
    return Finding(
        f"'{task.name}' and '{other.name}' depend on different parts: each set lowers its own task more",
        estimate=weaker, nulls=(null,), alpha=alpha,
        controls={"arm of the first set": estimates[0], "arm of the second set": estimates[1],
                  "accuracy on the first task": base_1, "accuracy on the second task": base_2,
                  **{f"{a} set, {b} task": float(d.mean(1)[i]) for i, a in enumerate(("first", "second"))
                     for b, d in (("first", drop_1), ("second", drop_2))}},
        table=_table(wanted, chosen, [h[0].groups for h in halves], sets, seed),
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint() + other.fingerprint(), seed=seed,
                              forwards=2.0 * (len(wanted) * (2 * size - 1) + 2 * draws + 4)),
        notes=(f"The tasks differ in accuracy by {gap:.2f}: what is fragile can look selective.",) if gap > MATCHED else (),
    )  # fmt: skip


def _drops(subject: Any, task: Any, ablation: Ablation, seed: int, what: str) -> Lost:
    """A function from sets of nodes to the mean of the metric, and what each prompt loses [sets, n] without each set."""
    bound = bound_pairs(subject, task, "probability")
    bound = as_accuracy(bound) if what == "accuracy" else bound
    reference: dict[str, Any] = {}

    def lost(sets: list[Nodes]) -> tuple[float, np.ndarray]:
        sites = sorted({n.site for s in sets for n in s} - set(reference))
        reference.update(references(subject, bound, sites, ablation, seed) if sites else {})
        values = metric_under(subject, bound, [(), *sets], reference)
        return float(values[0].mean()), values[0] - values[1:]

    return lost


def _grown(known: list[Any], wanted: list[Node], selective: np.ndarray, sign: float, size: int) -> Nodes:
    """The set that starts with the most selective node and takes in what raises its selectivity."""
    best = int(selective.argmax())
    grown, reached = (wanted[best],), float(selective[best])
    while len(grown) < size:
        tried = [(*grown, n) for n in wanted if n not in grown]
        first, second = (lost(tried)[1].mean(1) for lost in known)
        gain = sign * (first - second)
        if gain.max() <= reached:
            break
        grown, reached = tried[int(gain.argmax())], float(gain.max())
    return tuple(sorted(grown))


def _arms(drop_1: np.ndarray, drop_2: np.ndarray) -> tuple[Any, Any]:
    """Own drop less the other's, of set 1 and set 2 (rows 0 and 1)."""
    return drop_1[0] - drop_2[0], drop_2[1] - drop_1[1]


def _random_sets(wanted: list[Node], sizes: list[int], draws: int, seed: int) -> list[Nodes]:
    """`draws` sets of the first size, then as many of the second."""
    stream = rng(seed, "dissociation", "sets")
    return [tuple(wanted[i] for i in stream.choice(len(wanted), k, replace=False)) for k in sizes for _ in range(draws)]


def _table(wanted: list[Node], drops: list[np.ndarray], groups: list[Any], sets: list[Nodes], seed: int) -> Any:
    import pandas as pd

    family = permutation_family(drops[0].T, drops[1].T, draws=999, seed=seed)
    spread = [resampled_means(d, g, 999, seed, "selectivity", str(i)) for i, (d, g) in enumerate(zip(drops, groups))]
    effect = drops[0].mean(1) - drops[1].mean(1)
    low, high = np.percentile(spread[0] - spread[1], [2.5, 97.5], axis=0)
    member = ["first" if n in sets[0] else "second" if n in sets[1] else "neither" for n in wanted]
    tested = family.table()
    return pd.DataFrame({
        "node": [n.short for n in wanted], "site": [n.site for n in wanted], "layer": [n.layer for n in wanted],
        "effect": effect, "low": np.minimum(low, effect), "high": np.maximum(high, effect), "p": tested["p"], "q": tested["q"],
        "first_task": drops[0].mean(1), "second_task": drops[1].mean(1), "set": member,
    })  # fmt: skip
