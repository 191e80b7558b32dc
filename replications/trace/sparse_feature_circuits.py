"""Marks et al. (2024), Sparse Feature Circuits: features that carry a behaviour, and SHIFT.

On the language organism, number agreement with a distractor: TopK autoencoders at the attention and MLP outputs of its four
blocks. A circuit of 120 features is faithful where as many neurons of the same sites are not, and random features do
nothing. Everything outside a circuit is set to its mean over the data; errors of the dictionaries are kept in all arms.
With dictionaries on the stream after each block too, as in the paper, circuits of these small dictionaries must be twice
as large for the same faithfulness (calibration), as each of them stands in the way of all that passes.

Integrated gradients do not rank the features of the first layer as exact interventions do to 0.9, and not better than
attribution patching (one gradient, at the clean input), which does. An exact intervention moves one feature and leaves the
others; the path moves the whole dictionary at once, as in the paper's code, and passes where the answer has turned. Ranks
on the dictionaries of the first MLP and of the embeddings showed the same order (seeds 10 and 11: 0.83 to 0.90 against 0.96
to 0.99). On seeds 0-2 the single gradient had been taken at the middle of the path (one step of the method), where the
paper takes it at the clean end; that was corrected, and seeds 3-5 are reported.

SHIFT on a classifier whose two attributes were never apart in training: ablating the ten features of what it reads that go
with the unwanted attribute raises the accuracy of the worst group by about 0.3 or more. Ten random active features change
it by -0.15 to 0.06; on one seed of three that is more than the 0.03 that was asked (seeds 0-2: -0.06 to 0.00).

What was chosen by trying: the data of the classifier are the fourth design (with an early one ablation made the worst group
worse), and the behaviour: on IOI, circuits of 120 features reached a faithfulness of 0.09 to 0.25 and of 240 at most 0.44,
whichever sites had dictionaries (seed 10).

https://arxiv.org/abs/2403.19647
"""

from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import microtome as mt
from microtome.decompose import topk_sae
from microtome.organisms.fit import fit
from microtome.organisms.small import perceptron
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.subject.basis import Identity
from microtome.subject.gradients import gradients
from microtome.trace import shift, sparse_feature_circuits

CATALOG = ("trace", 231)
SEEDS = (3, 4, 5)
BUDGET_SECONDS = 120
METHODS = ("microtome.trace.sparse_feature_circuits", "microtome.trace.feature_effects", "microtome.trace.feature_edges")
DOCUMENTS, PROMPTS, SIZE, MARKED = 300, 32, 120, 10
SETTINGS = {"latents": 256, "k": 16, "steps": 300, "batch": 256, "lr": 3e-3}

CLAIMS = [
    Claim("integrated gradients against exact effects, first layer (Spearman)", "ig_spearman", 0.9, null="shuffled_spearman"),
    Claim("gain over one gradient at the clean input", "ig_gain", 0.0, null="shuffled_gain"),
    Claim("faithfulness of the feature circuit", "faithful", 0.8, null="faithful_random"),
    Claim("faithfulness of as many neurons, below that of features", "neuron_gap", 0.1, null="random_gap"),
    Claim("random features (faithfulness)", "faithful_random", 0.2, "<=", null="faithful"),
    Claim("SHIFT: gain of the worst group", "shift_gain", 0.2, null="shift_random"),
    Claim("ten random active features: gain of the worst group", "shift_random", 0.03, "<=", null="shift_gain"),
]


def run(seed: int) -> dict[str, float]:
    """A circuit of features against neurons and chance; then SHIFT."""
    subject = mt.load("organism:language")
    sites = [f"blocks.{b}.{p}" for b in range(subject.facts.blocks) for p in ("attn.out", "mlp.out")]
    recording = subject.record(subject.organism.examples(DOCUMENTS, seed), sites)
    bases = [topk_sae(recording[s], seed=seed, **SETTINGS) for s in sites]
    neurons = [Identity(s, subject.facts.d_model) for s in sites]
    found, held = subject.organism.truth.task("agreement", 2 * PROMPTS, seed).split(seed)
    graph, plain = (sparse_feature_circuits(subject, found, b, node_threshold=0.0, edges=False) for b in (bases, neurons))
    out = faithfulness(subject, held, {"features": (bases, graph), "neurons": (neurons, plain)}, seed)
    return out | ranks(subject, found, bases[0], seed) | shifted(seed)


def ranks(subject: mt.Subject, task: Any, basis: Any, seed: int) -> dict[str, float]:
    """Effects of the features of one dictionary: exact, integrated, and from one gradient."""
    bound = subject.bind(task)
    integrated, middle = (effects(sparse_feature_circuits(subject, task, [basis], node_threshold=0.0, steps=n, edges=False))
                          for n in (10, 1))  # fmt: skip
    clean, source = (basis.encode(subject.run(x, record=[basis.site])[basis.site]) for x in (bound.inputs, bound.corrupt))
    slope = gradients(subject, bound.inputs, [basis.site], bound.metric)[1][basis.site] @ basis.directions.T
    single = ((source - clean) * slope).sum(1).mean(0).detach().numpy()
    units = sorted(integrated, key=lambda u: -abs(integrated[u]))[:80]
    swept = subject.sweep(bound.inputs, [mt.Edit(basis.site, "set", source, unit=u, basis=basis) for u in units], bound.metric)
    exact = (swept.values - swept.base).mean(1).numpy()
    ours, half = (np.array([found.get(u, 0.0) for u in units]) for found in (integrated, middle))
    mixed = rng(seed, "shuffled").permutation(ours)
    a, b, c = (float(spearmanr(x, exact)[0]) for x in (ours, single[units], mixed))
    return {
        "ig_spearman": a, "atp_spearman": b, "middle_spearman": float(spearmanr(half, exact)[0]), "ig_gain": a - b,
        "shuffled_spearman": c, "shuffled_gain": c - b,
    }  # fmt: skip


def effects(graph: Any) -> dict[int, float]:
    """Effect by feature."""
    nodes = graph.of_kind("feature")
    return dict(zip(graph.index[nodes].tolist(), graph.effect[nodes].tolist()))


def faithfulness(subject: mt.Subject, task: Any, arms: dict[str, Any], seed: int) -> dict[str, float]:
    """Share of the metric that the `SIZE` nodes of largest effect keep when all other nodes are at their mean."""
    bound, out = subject.bind(task), {}
    for name, (bases, graph) in arms.items():
        nodes = graph.of_kind("feature")
        order = nodes[graph.effect[nodes].abs().argsort(descending=True)]
        draw = nodes[torch.randperm(len(nodes), generator=torch_rng(seed, "random features"))]
        kept = [[graph.unit(int(i)) for i in chosen] for chosen in (order[:SIZE], draw[:SIZE], [])]
        sets = [outside(subject, bound, bases, units) for units in kept]
        only, chance, none = (float(x.mean()) for x in subject.sweep(bound.inputs, sets, bound.metric).values)
        whole = float(subject.sweep(bound.inputs, [sets[2][:1]], bound.metric).base.mean())
        out |= {name: (only - none) / (whole - none), f"{name}_random": (chance - none) / (whole - none)}
    return {
        "faithful": out["features"], "faithful_random": out["features_random"], "neurons": out["neurons"],
        "neuron_gap": out["features"] - out["neurons"], "random_gap": out["features_random"] - out["neurons_random"],
    }  # fmt: skip


def outside(subject: mt.Subject, bound: Any, bases: list[Any], units: list[Any]) -> list[mt.Edit]:
    """Every coordinate but the given ones at its mean over the clean and corrupt prompts, position by position."""
    edits = []
    for basis in bases:
        stay = {u.index for u in units if u.site == basis.site}
        codes = torch.cat(
            [basis.encode(subject.run(x, record=[basis.site])[basis.site]) for x in (bound.inputs, bound.corrupt)]
        )
        mean = codes.mean(0, keepdim=True).expand(len(bound), -1, -1)
        gone = [u for u in range(basis.dim) if u not in stay]
        edits.append(mt.Edit(basis.site, "set", mean, unit=gone, basis=basis))
    return edits


def shifted(seed: int) -> dict[str, float]:
    """A classifier of A, trained where B always equals A; classes have five directions each, those of B are louder."""
    g = torch_rng(seed, "confounded")
    directions = torch.nn.functional.normalize(torch.randn(64, 64, generator=g), dim=1)

    def draw(n: int, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        own = torch.cat([a[:, None] == 0, a[:, None] == 1, b[:, None] == 0, b[:, None] == 1], 1).repeat_interleave(5, 1)
        rate = torch.cat([0.6 * own, torch.full((n, 44), 0.03)], 1)
        loud = torch.cat([torch.ones(10), torch.full((10,), 1.5), torch.ones(44)])
        codes = loud * (0.5 + torch.rand(n, 64, generator=g)) * (torch.rand(n, 64, generator=g) < rate)
        return codes @ directions

    def groups(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        a, b = torch.rand(n, generator=g) < 0.5, torch.rand(n, generator=g) < 0.5
        return draw(n, a.float(), b.float()), a, b

    same = (torch.rand(4096, generator=g) < 0.5).float()
    x, model = draw(4096, same, same), perceptron([64, 64, 2], seed=seed)
    fit(model, lambda _: torch.nn.functional.cross_entropy(model(x), same.long()), 300, lr=3e-3)
    subject = mt.Subject(model, name="confounded classifier")
    mixed, _, b = groups(4096)
    basis = topk_sae(subject.record(mixed, ["0:input"]), latents=96, k=8, steps=1500, batch=256, lr=3e-3, seed=seed)
    codes = basis.encode(subject.run(mixed, record=["0:input"])["0:input"])
    apart = codes[b].mean(0) - codes[~b].mean(0)
    active = (codes.mean(0) > 0).nonzero()[:, 0]
    marked = [basis.unit(int(u)) for u in apart.abs().topk(MARKED).indices]
    rest = active[~torch.isin(active, torch.tensor([u.index for u in marked]))]
    chance = [basis.unit(int(u)) for u in rest[torch.randperm(len(rest), generator=g)[:MARKED]]]
    test, a, b = groups(4096)
    arms = [
        subject.run(test, edits=e).output.argmax(1) == a.long() for e in ((), shift([basis], marked), shift([basis], chance))
    ]
    worst = [min(float(right[(a == i) & (b == j)].float().mean()) for i in (0, 1) for j in (0, 1)) for right in arms]
    return {"worst_group": worst[0], "shift_gain": worst[1] - worst[0], "shift_random": worst[2] - worst[0]}
