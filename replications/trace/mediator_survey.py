"""Mueller et al. (2024), The Quest for the Right Mediator: one measure for heads, neurons, directions, features and edges.

The survey asks for one call over all kinds of mediators, with total, direct and indirect effects on the same footing. On
a linear causal model (one strong path through a planted unit) total = direct + indirect for layers, neurons, principal
components, dictionary features and edges, and the effects equal products of its matrices. In a transformer with one
planted head the planted mediator ranks first in every kind. Nulls: a network with a backup, where the sum must fail; the
causal model with shuffled weights; a transformer with random weights.

https://arxiv.org/abs/2408.01416
"""

import torch

import microtome as mt
from microtome.decompose import pca, relu_sae, topk_sae
from microtome.errors import Degenerate
from microtome.replicate import Claim
from microtome.stimuli.task import Task
from microtome.testing.planted_network import ANSWER, KEYS, PlantedNetwork, planted_network
from microtome.trace import Edge, Node, mediation, nodes

CATALOG = ("trace", 46)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.trace.mediation", "microtome.trace.activation_patching", "microtome.trace.edges",
           "microtome.organisms.compiled.scm")  # fmt: skip
PROMPTS = 48

CLAIMS = [
    Claim("linear model: total = direct + indirect, every kind", "identity_error", 1e-5, "<=", null="interaction_with_backup"),
    Claim("linear model: effects are products of its matrices", "closed_form_error", 1e-5, "<=", null="closed_form_of_twin"),
    Claim("linear model: the planted mediator is first in every kind", "first_in_scm", 1.0, null="first_in_scm_twin"),
    Claim("transformer: the planted mediator is first in every kind", "first", 1.0, null="first_in_random"),
    Claim("every result states its cost in forward passes", "cheapest", 4.0, no_null="a cost is not a statistic"),
]


def run(seed: int) -> dict[str, float]:
    """Effects of every kind of mediator, where they are known and where nothing is planted."""
    scm = mt.load("organism:compiled-scm")
    found = causal_model(scm, seed)
    twin = causal_model(scm.twin("weight_shuffle", seed=seed), seed)
    ioi = mt.load("organism:compiled-ioi")
    backup = mediation(ioi, ioi.organism.examples(PROMPTS, seed), nodes="head", seed=seed).table
    cost = transformer(planted_network(seed, n=PROMPTS), seed)
    return {
        **found, "first_in_scm_twin": twin["first_in_scm"], "closed_form_of_twin": twin["closed_form_error"],
        "interaction_with_backup": float(backup["interaction"].abs().max()),
        **cost, "first_in_random": transformer(planted_network(seed, structured=False, n=PROMPTS), seed)["first"],
    }  # fmt: skip


def causal_model(subject: mt.Subject, seed: int) -> dict[str, float]:
    """All kinds of mediators of the linear causal model, in double precision; x[0] is treated."""
    subject.module.double()
    truth, unit = subject.organism.truth, subject.organism.truth.planted[1]
    x = subject.organism.examples(PROMPTS, seed).inputs.double()
    treated = x + torch.tensor([1.0, 0.0, 0.0])
    answers = torch.zeros(PROMPTS, dtype=torch.long)
    task = Task("treatment", treated, x, answers, 1 - answers, kind="image", groups=list(range(PROMPTS)))
    recording = subject.record(torch.cat([x, treated]), ["first"])
    components = pca(recording)
    features = relu_sae(recording, latents=16, l1=0.1, steps=300, batch=64, lr=0.02, seed=seed)
    kinds = {
        "layer": ([Node("first"), Node("second")], {Node("first")}),
        "neuron": ([Node(s, unit=u) for s, n in (("first", 8), ("second", 5)) for u in range(n)], {Node("first", unit=unit)}),
        "direction": (nodes(subject, components), along(components, unit)),
        "feature": (nodes(subject, features), along(features, unit)),
        "edge": ([Node(a) for a in truth.arrows], {Node("x_to_first")}),
    }
    tables = {kind: mediation(subject, task, nodes=n, seed=seed).table for kind, (n, _) in kinds.items()}
    difference = torch.tensor([1.0, -1.0])
    expected = {
        "layer": [truth.through(s) for s in ("first", "second")],
        "neuron": [truth.unit(s, u) for s, n in (("first", 8), ("second", 5)) for u in range(n)],
        "edge": [truth.arrow(a) for a in truth.arrows],
    }
    errors = [abs(float(difference @ effect[:, 0]) - found)
              for kind, effects in expected.items() for effect, found in zip(effects, tables[kind]["indirect"])]  # fmt: skip
    return {
        "identity_error": max(float(t["interaction"].abs().max()) for t in tables.values()),
        "closed_form_error": max(errors), "first_in_scm": share_first(kinds, tables),
    }  # fmt: skip


def along(basis: mt.Basis, unit: int) -> set[Node]:
    """Coordinates whose direction has its largest entry at the planted unit."""
    peaks = basis.directions.abs().argmax(dim=1)
    return {Node(basis.site, unit=i, basis=basis) for i, peak in enumerate(peaks.tolist()) if peak == unit}


def transformer(net: PlantedNetwork, seed: int) -> dict[str, float]:
    """All kinds of mediators of a transformer in which one head does the task."""
    subject, sites = net.subject, [s.name for s in net.subject.sites("*attn.out")]
    heads, here = nodes(subject, "head"), f"blocks.{net.block}.attn.out"
    planted = Node(f"blocks.{net.block}.attn.z", head=net.head)
    recordings = [subject.record(net.task.clean, [site]) for site in sites]
    bases = {"direction": [pca(r, components=8) for r in recordings],
             "feature": [topk_sae(r, latents=16, k=2, steps=200, batch=64, lr=0.03, seed=seed) for r in recordings]}
    kinds = {
        "head": (heads, {planted}),
        "neuron": (nodes(subject, "neuron", sites=sites), {Node(here, unit=u) for u in range(ANSWER, ANSWER + KEYS)}),
        "edge": ([Edge(h) for h in heads], {Edge(planted)}),
        **{kind: ([n for b in two for n in nodes(subject, b)], {n for b in two for n in nodes(subject, b) if b.site == here})
           for kind, two in bases.items()},
    }  # fmt: skip
    try:
        found = {kind: mediation(subject, net.task, nodes=n, seed=seed) for kind, (n, _) in kinds.items()}
    except Degenerate:  # random weights may not tell clean from corrupt
        return {"first": 0.0, "cheapest": 0.0}
    return {
        "first": share_first(kinds, {kind: f.table for kind, f in found.items()}),
        "cheapest": min(f.provenance.forwards for f in found.values()),
    }  # fmt: skip


def share_first(kinds: dict, tables: dict) -> float:
    """Share of the kinds of mediators in which a planted one has the largest indirect effect."""
    hits = [listed[int(tables[kind]["indirect"].abs().argmax())] in planted for kind, (listed, planted) in kinds.items()]
    return sum(hits) / len(hits)
