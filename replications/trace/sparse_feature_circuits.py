"""Marks et al. (2024), Sparse Feature Circuits: features that carry a behaviour, and SHIFT.

On the language organism, number agreement with a distractor: TopK autoencoders at the attention and MLP outputs of its four
blocks. A circuit of 120 features is faithful where as many neurons of the same sites are not, and random features do
nothing. Everything outside a circuit is set to its mean over the data; errors of the dictionaries are kept in all arms.
With dictionaries on the stream after each block too, as in the paper, circuits of these small dictionaries must be twice
as large for the same faithfulness (calibration), as each of them stands in the way of all that passes.

Integrated gradients are compared with exact interventions, one feature at a time, at the first place of the network: a
dictionary of the embeddings wider than the vocabulary, with two features per word, on names (indirect objects), where about
30 of them differ. They rank these as the interventions do, to about 0.96. Attribution patching (one gradient, at the clean
input) finds a third of the effect, as the norm behind the embeddings cancels what a word does to its own length: it is off by
0.64 to 0.72 of the effects, integrated gradients by 0.21 to 0.30 (`atp_off`, `ig_off`; seeds 30-32 and 40-42). Its mistake is
mostly a factor common to all words, which a rank over 27 to 39 features does not see: the gain in rank is small where the size
of the effects tells the two apart clearly.

The ranks were reported before on seeds 30-32 with one dictionary per seed. Seven of eight claims held, the gain over one
gradient did not: 0.125, 0.048 and -0.008 (ranks of 0.97, 0.97 and 0.96 against 0.84, 0.93 and 0.96), after 0.07 to 0.20 on
seeds 20-24 (calibration). One change was made since, after that result: both Spearman claims and their nulls are the mean of
three dictionaries (as many as the time allows), each fitted from its own seed, on the same prompts; thresholds as before. On
seeds 40-42 (calibration) the gain is 0.06, 0.20 and 0.12, of the nine dictionaries 0.02 to 0.26. So the dictionary is only
part of the noise: dictionaries of one seed spread by 0.04 (standard deviation), the means of the seeds, which differ in texts
and prompts, by 0.07. The least of the three stays among the figures (`ig_gain_least`, `ig_spearman_least`): what the claim
says of the mean, it does not say of every dictionary.

Nor does any of it hold of every dictionary. On seeds 3-5 it was asked of 16 features per position at the first attention
output, on agreement: 0.82 to 0.95 for integrated gradients, 0.93 to 0.98 for the single gradient (on seeds 0-2 that had
been taken at the middle of the path). What decides is how many features share one change (seed 100): there the whole site
moves the answer by -12.7, all features one at a time by -0.6, so that interventions stay in the linear neighbourhood of the
clean input while the path crosses to where the answer has turned. A two-layer network trained on agreement, as the
catalogue has it, showed the same: both at 0.95 or more at the MLP and the stream of the first block (4 or 8 features per
position), at the embeddings -0.3 for the single gradient where interventions one at a time add up to -10 (2 features), but
with five features that matter, too few to rank. With one feature per word the path ranked better, or as well, on all of
agreement, names, induction and years (3 seeds; 0.74 to 0.98 against 0.25 to 0.76). With two per word names do better still,
agreement does not (0.37 and 0.57 against 0.66 and 0.72; three features of 30 matter). Hence names, where enough words
differ. The former comparison stays among the figures (`agreement_...`, all features that change).

SHIFT on a classifier whose two attributes were never apart in training: ablating the ten features of what it reads that go
with the unwanted attribute raises the accuracy of the worst group by 0.3 or more. Ten random active features change it by
nothing on average (-0.05 to 0.00 on seeds 20-24); on seeds 3-5 a single random ten was asked, and one gained 0.06: among
100 tens (of all active features, the marked ones included) the best gains 0.15 to 0.33, less than SHIFT.

What was chosen by trying: the data of the classifier are the fourth design (with an early one ablation made the worst group
worse), and the behaviour of the circuit: on IOI, circuits of 120 features reached a faithfulness of 0.09 to 0.25 and of 240
at most 0.44, whichever sites had dictionaries (seed 10). Seeds 30-32 had been reported after two changes (dictionary and
behaviour of the ranks; random draws), seeds 50-52 come after the third (several dictionaries). Limits: a small network; the
ranks speak of one site and one behaviour.

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
from microtome.rng import derive, rng, torch_rng
from microtome.subject.basis import Identity
from microtome.subject.gradients import gradients
from microtome.trace import shift, sparse_feature_circuits

CATALOG = ("trace", 231)
SEEDS = (50, 51, 52)
BUDGET_SECONDS = 120
METHODS = ("microtome.trace.sparse_feature_circuits", "microtome.trace.feature_effects", "microtome.trace.feature_edges")
DOCUMENTS, PROMPTS, SIZE, MARKED, DRAWS, FITS = 300, 32, 120, 10, 100, 3
SETTINGS = {"latents": 256, "k": 16, "steps": 300, "batch": 256, "lr": 3e-3}
WORDS = {"latents": 1024, "k": 2, "steps": 500, "batch": 256, "lr": 6e-3}  # one feature or two per word; 812 words

CLAIMS = [
    Claim(
        "integrated gradients against exact effects, embeddings (Spearman, 3 fits)",
        "ig_spearman",
        0.9,
        null="shuffled_spearman",
    ),
    Claim("gain over one gradient at the clean input (mean of 3 fits)", "ig_gain", 0.0, null="shuffled_gain"),
    Claim("faithfulness of the feature circuit", "faithful", 0.8, null="faithful_random"),
    Claim("faithfulness of as many neurons, below that of features", "neuron_gap", 0.1, null="random_gap"),
    Claim("random features (faithfulness)", "faithful_random", 0.2, "<=", null="faithful"),
    Claim("SHIFT: gain of the worst group", "shift_gain", 0.2, null="shift_random"),
    Claim(
        "ten random active features: gain of the worst group, mean of 100 draws", "shift_random", 0.03, "<=", null="shift_gain"
    ),
    Claim("share of the 100 draws that gain as much", "shift_p", 0.05, "<=", null="shift_p_random"),
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
    alone = ranks(subject, found, bases[0], seed)
    first = words(subject, seed)
    return out | first | {f"agreement_{k}": alone[k] for k in ("ig_spearman", "atp_spearman")} | shifted(seed)


def words(subject: mt.Subject, seed: int) -> dict[str, float]:
    """The ranks on names, mean over dictionaries of the embeddings fitted each from its own seed; the least of both."""
    embedded = subject.record(subject.organism.examples(2 * DOCUMENTS, seed), ["embed"])
    task = subject.organism.truth.task("ioi", 2 * PROMPTS, seed)
    seeds = [derive(seed, "words", i) for i in range(FITS)]
    found = [ranks(subject, task, topk_sae(embedded, seed=s, **WORDS), s) for s in seeds]
    least = {f"{k}_least": min(f[k] for f in found) for k in ("ig_spearman", "ig_gain")}
    return {k: float(np.mean([f[k] for f in found])) for k in found[0]} | least


def ranks(subject: mt.Subject, task: Any, basis: Any, seed: int) -> dict[str, float]:
    """Effects of the features of one dictionary: exact, integrated, and from one gradient."""
    bound = subject.bind(task)
    integrated = effects(sparse_feature_circuits(subject, task, [basis], node_threshold=0.0, edges=False))
    clean, source = (basis.encode(subject.run(x, record=[basis.site])[basis.site]) for x in (bound.inputs, bound.corrupt))
    slope = gradients(subject, bound.inputs, [basis.site], bound.metric)[1][basis.site] @ basis.directions.T
    units = (source != clean).any((0, 1)).nonzero()[:, 0].tolist()
    single = ((source - clean) * slope).sum(1).mean(0).detach().numpy()[units]
    swept = subject.sweep(bound.inputs, [mt.Edit(basis.site, "set", source, unit=u, basis=basis) for u in units], bound.metric)
    exact = (swept.values - swept.base).mean(1).numpy()
    ours = np.array([integrated.get(u, 0.0) for u in units])
    mixed = rng(seed, "shuffled").permutation(ours)
    a, b, c = (float(spearmanr(x, exact)[0]) for x in (ours, single, mixed))
    off = {name: float(np.abs(x - exact).sum() / np.abs(exact).sum()) for name, x in (("ig", ours), ("atp", single))}
    return {
        "ig_spearman": a, "atp_spearman": b, "ig_gain": a - b, "shuffled_spearman": c, "shuffled_gain": c - b,
        "ig_off": off["ig"], "atp_off": off["atp"], "features": float(len(units)),
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
    orders = [torch.randperm(len(active), generator=g)[:MARKED] for _ in range(DRAWS)]
    test, a, b = groups(4096)

    def worst(edits: Any) -> float:
        right = subject.run(test, edits=edits).output.argmax(1) == a.long()
        return min(float(right[(a == i) & (b == j)].float().mean()) for i in (0, 1) for j in (0, 1))

    plain, ours = worst(()), worst(shift([basis], marked))
    chance = np.array([worst(shift([basis], [basis.unit(int(active[i])) for i in order])) - plain for order in orders])
    rank = (chance[:, None] >= np.append(chance, ours - plain)).mean(0)
    return {
        "worst_group": plain, "shift_gain": ours - plain, "shift_random": float(chance.mean()),
        "shift_random_most": float(chance.max()), "shift_p": float(rank[-1]), "shift_p_random": float(rank[:-1].mean()),
    }  # fmt: skip
