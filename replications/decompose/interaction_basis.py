"""Bushnaq et al. (2024), Using Degeneracy in the Loss Landscape for Mechanistic Interpretability: the Interaction Basis.

(a) In a trained network with a linear layer in the middle, a random invertible matrix is inserted after it and undone
before the next: the network is the same function. Coordinates in the Interaction Basis and their importance are unchanged;
principal components are not. (b) Planted degeneracies are counted exactly: the rank of the activations and copied ReLUs;
the null is the same network before they were planted. (c) Two networks side by side, hidden by a random rotation of two
linear layers, on inputs whose halves are independent: communities of the graph of interactions, with logarithmic weights,
find the two; a dense network of the same shape, whose coordinates are given the same two labels, has no such communities.
(Weights into the ReLUs are made large enough that they switch; a half whose ReLUs never do is linear and has no module, as
seed 0 showed. Reported are seeds that nobody had looked at.)

The weights of the graph follow the paper's argument (cost grows with the logarithm of the strength); its constants are free.

https://arxiv.org/abs/2405.10927
"""

from itertools import pairwise

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from microtome.decompose import degeneracy, interaction_basis, interaction_edges, interaction_modules, pca
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.subject.subject import Subject

CATALOG = ("decompose", 41)
SEEDS = (3, 4, 5)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.interaction_basis", "microtome.decompose.interaction",
           "microtome.decompose.interaction_graph")  # fmt: skip
WIDTH, RANK, COPIES = 12, 5, 3

CLAIMS = [
    Claim("least correlation of coordinates with themselves after an inserted matrix", "least_correlation", 0.999,
          null="pca_correlation"),
    Claim("largest relative change of the importances", "importance_change", 1e-6, "<=", null="pca_change"),
    Claim("planted rank and copied units are counted exactly (errors)", "count_errors", 0.0, "<=", null="unplanted_errors"),
    Claim("two hidden modules are found (adjusted Rand index)", "modules", 0.9, null="dense_modules"),
    Claim("the split is better than on permuted edges (p)", "modules_p", 0.05, "<=", null="dense_p"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Insert a matrix, plant degeneracies, hide two modules."""
    g = torch_rng(seed, "interaction basis")
    x = torch.randn(1000, WIDTH, generator=g, dtype=torch.float64)
    return {**invariance(x, seed, g), **planted(x, seed, g), **hidden_modules(x, seed, g)}


def network(sizes: list[int], relu: tuple[int, ...], seed: int, name: str) -> nn.Sequential:
    """Linear layers in float64; those named in `relu` are followed by one."""

    def make() -> nn.Sequential:
        parts: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(sizes)):
            parts += [nn.Linear(a, b), nn.ReLU()] if i in relu else [nn.Linear(a, b)]
        return nn.Sequential(*parts).double()

    return seeded(make, seed, name)


def insert(module: nn.Sequential, layer: int, a: Tensor) -> nn.Sequential:
    """The same function with a after linear layer `layer` and its inverse in the linear layer that follows."""
    copy = nn.Sequential(*(nn.Linear(m.in_features, m.out_features).double() if isinstance(m, nn.Linear) else nn.ReLU()
                           for m in module))  # fmt: skip
    state = {k: v.clone() for k, v in module.state_dict().items()}
    state[f"{layer}.weight"], state[f"{layer}.bias"] = a @ state[f"{layer}.weight"], a @ state[f"{layer}.bias"]
    state[f"{layer + 1}.weight"] = state[f"{layer + 1}.weight"] @ a.inverse()
    copy.load_state_dict(state)
    return copy


def invariance(x: Tensor, seed: int, g: torch.Generator) -> dict[str, float]:
    """Coordinates before and after an inserted matrix."""
    module = network([WIDTH, 20, WIDTH, 20, 6], (0, 2), seed, "invariance")
    targets = torch.stack([x[:, i] * x[:, i + 1] for i in range(6)], 1)
    fit(module, lambda _: (module(x) - targets).square().mean(), 400, lr=1e-2)
    subjects = [Subject(module), Subject(insert(module, 2, torch.randn(WIDTH, WIDTH, generator=g, dtype=torch.float64)))]
    values = [s.run(x, record=["2"])["2"] for s in subjects]
    out = {}
    for name, bases in {
        "least_correlation": [interaction_basis(s, x, at="2", cutoff=1e-10) for s in subjects],
        "pca_correlation": [pca(s.record(x, ["2"])) for s in subjects],
    }.items():
        z = [b.encode(v).numpy().T for b, v in zip(bases, values)]
        out[name] = min(abs(np.corrcoef(p, q)[0, 1]) for p, q in zip(*z))
        spectra = [np.array(b.history.get("importance") or b.history["explained"]) for b in bases]
        change = float(np.max(np.abs(spectra[1] / spectra[0] - 1)))
        out["importance_change" if name == "least_correlation" else "pca_change"] = change
    return out


def planted(x: Tensor, seed: int, g: torch.Generator) -> dict[str, float]:
    """Count a planted rank and planted copies, in a network with and without them."""
    module = network([WIDTH, 20, 8], (0,), seed, "degeneracy")
    low = x[:, :RANK] @ torch.randn(RANK, WIDTH, generator=g, dtype=torch.float64)
    before = [degeneracy(Subject(module), x, at=at) for at in ("0", "1")]
    with torch.no_grad():
        for copy in range(1, COPIES):
            module[0].weight[copy], module[0].bias[copy] = (copy + 1) * module[0].weight[0], (copy + 1) * module[0].bias[0]
        module[0].bias.zero_()
    after = [degeneracy(Subject(module), low, at=at) for at in ("0", "1")]
    errors = [abs(r[0].activation_rank - RANK) + abs(sum(map(len, r[1].synchronised)) - COPIES) for r in (before, after)]
    return {"count_errors": errors[1], "unplanted_errors": errors[0]}


def hidden_modules(x: Tensor, seed: int, g: torch.Generator) -> dict[str, float]:
    """Two networks side by side behind rotations, and one dense network."""
    # Every combination of 50 left and 50 right halves: sampling would correlate the two by chance, and their edges with it.
    left, right = x[:50, : WIDTH // 2], x[50:100, WIDTH // 2 :]
    x = torch.cat([left.repeat_interleave(50, 0), right.repeat(50, 1)], 1)
    half = [WIDTH // 2, 10, 4, 10, 4, 4]
    whole = [2 * n for n in half]
    relu = (0, 2)
    both = network(whole, relu, seed, "modules")
    with torch.no_grad():
        for layer in (m for m in both if isinstance(m, nn.Linear)):
            mask = torch.block_diag(*[torch.ones([s // 2 for s in layer.weight.shape])] * 2)
            layer.weight.mul_(mask)
    dense = network(whole, relu, seed, "dense")
    with torch.no_grad():
        # Larger than drawn, so that ReLUs switch: a half whose ReLUs never do is linear, and falls into single coordinates.
        for module in (both, dense):
            for layer in (module[0], module[3]):
                layer.weight.mul_(4.0)
    out = {}
    for name, module in {"modules": both, "dense": dense}.items():
        for layer in (2, 5):
            module = insert(module, layer, torch.linalg.qr(torch.randn(8, 8, generator=g, dtype=torch.float64)).Q)
        subject = Subject(module)
        lower, upper = interaction_basis(subject, x, at="2"), interaction_basis(subject, x, at="5")
        found = interaction_modules(interaction_edges(subject, x[::7], lower, upper, points=4), floor=1e-10, seed=seed)
        truth = [side(subject, x, basis) for basis in (lower, upper)]
        score = adjusted_rand_score(np.concatenate(truth), np.concatenate([found.lower, found.upper]))
        out |= {"modules" if name == "modules" else "dense_modules": score, f"{name}_p": found.p}
    return out


def side(subject: Subject, x: Tensor, basis) -> np.ndarray:
    """Which half of the inputs each coordinate depends on more: what was planted."""
    given = x.clone().requires_grad_(True)
    layers = subject.module[: int(basis.site) + 1]
    z = basis.encode(layers(given))
    power = torch.stack([torch.autograd.grad(c.sum(), given, retain_graph=True)[0].square().sum(0) for c in z.T])
    return (power[:, : WIDTH // 2].sum(1) > power[:, WIDTH // 2 :].sum(1)).int().numpy()
