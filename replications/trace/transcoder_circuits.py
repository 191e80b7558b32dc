"""Dunefsky, Chlenski, Nanda (2024), Transcoders Find Interpretable LLM Feature Circuits: circuits through transcoders.

On the language organism (4 layers, width 128): TopK transcoders of its four MLPs, and autoencoders of equal size (8 times
the width) and sparsity on the MLP outputs. Tokens, features, heads, errors and biases add up to each target; transcoders
recover as much of the loss as autoencoders, one fitted to shuffled targets does not; the ten upstream features that the
search ranks highest change their target far more when they are ablated than ten random active ones. Patterns are held in
the search and free in the ablation.

On seeds 0-2 transcoders of 256 latents, fitted to 300 documents (6,800 words, 23 passes), stayed behind autoencoders by
0.018 to 0.033, where 0.03 is allowed. They learnt the documents by heart: on seed 101 the loss recovered fell behind by
0.039, by 0.031 with 8 times the width although both then left the same share of the recorded variance unexplained (0.006
to 0.057), and by 0.013 (0.0005 with 8 times the width) when fitted to 1,200 documents with as many updates; there the loss
was measured on 64 held documents, before on 24. Twice the updates on the few documents went from 0.022 to 0.014 (seed
100). A map from one site to another has more to overfit than a copy. So there are more documents now (the paper has one
pass over millions), and fewer updates at a higher rate; seeds 30-32 are reported after this one change.

Limits: one small network; loss is measured with one MLP replaced at a time; transcoders are still slightly behind (0.004
to 0.016 on seeds 20-24 and 100-101). Interpretability of the features is not judged here.

https://arxiv.org/abs/2406.11944
"""

from typing import Any

import torch

import microtome as mt
from microtome.decompose import topk_sae, transcoder
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.subject.recording import Recording
from microtome.trace import transcoder_circuits

CATALOG = ("trace", 16)
SEEDS = (30, 31, 32)
BUDGET_SECONDS = 90
METHODS = ("microtome.trace.transcoder_circuits", "microtome.trace.frozen", "microtome.trace.rows", "microtome.trace.stations")
DOCUMENTS, HELD, PROMPTS, TOP = 1200, 64, 12, 10
SETTINGS = {"latents": 1024, "k": 16, "steps": 250, "batch": 256, "lr": 6e-3}

CLAIMS = [
    Claim("contributions add up to the target (largest relative error)", "error", 1e-4, "<=", null="error_without_errors"),
    Claim("loss recovered by transcoders, less that of autoencoders", "over_sae", -0.03, null="shuffled_over_sae"),
    Claim("ablating the ten top features against ten random active ones (ratio of changes)", "ratio", 3.0, null="random_ratio"),
]


def run(seed: int) -> dict[str, float]:
    """Fit, check sums, and ablate what the search found."""
    subject = mt.load("organism:language")
    blocks = range(subject.facts.blocks)
    reads, writes = ([f"blocks.{b}.mlp.{part}" for b in blocks] for part in ("norm", "out"))
    recording = subject.record(subject.organism.examples(DOCUMENTS, seed), [*reads, *writes])
    coders = [transcoder(recording, reads=r, writes=w, seed=seed, **SETTINGS) for r, w in zip(reads, writes)]
    saes = [topk_sae(recording[w], seed=seed, **SETTINGS) for w in writes]
    shuffled = [transcoder(shuffle(recording, r, w, seed), reads=r, writes=w, seed=seed, **SETTINGS)
                for r, w in zip(reads[:1], writes[:1])]  # fmt: skip
    held = subject.inputs(subject.organism.examples(HELD, seed + 1000))
    ours, sae, null = (recovered(subject, held, found) for found in (coders, saes, shuffled))
    sums, changes = [], []
    for prompt in subject.organism.truth.task("ioi", PROMPTS, seed).clean:
        sums_, changes_ = circuit(subject, prompt, coders, seed)
        sums.append(sums_)
        changes.append(changes_)
    top, chance, other = torch.tensor(changes).mean(0).tolist()
    return {
        "error": max(s[0] for s in sums), "error_without_errors": sum(s[1] for s in sums) / len(sums),
        "over_sae": sum(ours) / len(ours) - sum(sae) / len(sae), "shuffled_over_sae": null[0] - sae[0],
        "recovered": sum(ours) / len(ours), "recovered_sae": sum(sae) / len(sae),
        "ratio": top / chance, "random_ratio": other / chance,
    }  # fmt: skip


def shuffle(recording: Recording, reads: str, writes: str, seed: int) -> Recording:
    """The same inputs beside the outputs of other tokens."""
    x, y = recording[reads].matrix(), recording[writes].matrix()
    order = torch.randperm(len(y), generator=torch_rng(seed, "shuffled targets"))
    return Recording.of({reads: x, writes: y[order]})


def recovered(subject: mt.Subject, held: Any, bases: list[Any]) -> list[float]:
    """Share of the loss that each basis keeps when it stands for its MLP; 0 = the MLP's output set to zero."""
    plain = subject.run(held, record=[s for b in bases for s in (b.site, getattr(b, "writes", b.site))])
    whole, out = loss(plain.logits, held), []
    for basis in bases:
        site = getattr(basis, "writes", basis.site)
        none, kept = (loss(subject.run(held, edits=[mt.patch(site, v)]).logits, held)
                      for v in (torch.zeros_like(plain[site]), basis(plain[basis.site])))  # fmt: skip
        out.append((none - kept) / (none - whole))
    return out


def loss(logits: torch.Tensor, held: Any) -> float:
    """Next-token cross-entropy over real tokens."""
    ids, mask = held["input_ids"][:, 1:], held["attention_mask"][:, 1:].bool()
    return float(torch.nn.functional.cross_entropy(logits[:, :-1][mask], ids[mask]))


def circuit(subject: mt.Subject, prompt: str, coders: list[Any], seed: int) -> tuple[tuple[float, float], list[float]]:
    """The circuit of the strongest last-layer feature: how well it adds up, and what ablations do to the feature."""
    inputs, last = subject.inputs([prompt]), coders[-1]
    codes = subject.run(inputs, record=[c.site for c in coders])
    z = {c.site: c.encode(codes[c.site])[0] for c in coders}
    feature = int(z[last.site][-1].argmax())
    graph = transcoder_circuits(subject, inputs, coders, target=last.unit(feature), breadth=60, depth=3)
    gap = float(((graph.received() - graph.value).abs() / graph.value.abs())[graph.expanded & (graph.start > 0)].max())
    errors = graph.kind[graph.source] == 2
    without = torch.zeros(len(graph)).index_add_(0, graph.target[errors], graph.weight[errors])
    missing = float((without.abs() / graph.value.abs())[graph.start > 0].max())
    nodes = [i for i in graph.of_kind("feature").tolist() if graph.start[i] == 0]
    nodes.sort(key=lambda i: -abs(float(graph.effect[i])))
    top = [(graph.unit(i), int(graph.position[i])) for i in nodes[:TOP]]
    active = [(c.unit(int(u)), int(p)) for c in coders[:-1] for p, u in z[c.site].nonzero()]
    draws = [[active[i] for i in rng(seed, "random", k, prompt).choice(len(active), TOP, replace=False)] for k in range(5)]
    before = float(last.preactivations(codes[last.site])[0, -1, feature])

    def change(units: list) -> float:
        by_site = {c.site: c for c in coders}
        edits = [mt.ablate(by_site[u.site].writes, how="zero", unit=u.index, position=p, basis=by_site[u.site])
                 for u, p in units]  # fmt: skip
        after = subject.run(inputs, edits=edits, record=[last.site])[last.site]
        return abs(float(last.preactivations(after)[0, -1, feature]) - before)

    by_draw = [change(d) for d in draws]
    return (gap, missing), [change(top), sum(by_draw[1:]) / 4, by_draw[0]]
