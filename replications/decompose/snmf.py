"""Shafran, Geiger, Geva (2025), Decomposing MLP Activations into Interpretable Features via SNMF.

Planted: ten features of ten random-sign neurons among 200, each active on 15% of 2,000 samples. SNMF with hard-sparse
directions (the best of three starts, by its error) recovers them;
semi-NMF without the sparsity and PCA mix them; on samples permuted neuron by neuron (the null)
nothing is left to explain together. On a small classifier of digits, adding a feature of the first hidden layer raises
the logit of the class that switches it on (classes chosen on training images, steered on others), and does so more than
the feature's own values moved to random neurons. The paper's comparison with autoencoders on large language models is
not repeated; here the dense directions of a top-k autoencoder steer more at equal norm (`sae_steering`, without a claim).

https://arxiv.org/abs/2506.10920
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from microtome.decompose import NonNegativeParts, pca, semi_nmf, snmf, topk_sae
from microtome.decompose.judge import mmcs, reconstruction
from microtome.decompose.semi_factors import STARTS
from microtome.organisms.fit import fit
from microtome.organisms.small import perceptron
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.subject.edit import steer
from microtome.subject.recording import Recording
from microtome.subject.subject import Subject

CATALOG = ("decompose", 7)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.snmf", "microtome.decompose.semi_factors", "microtome.decompose.semi_nmf",
           "microtome.decompose.nmf")  # fmt: skip
FEATURES, NEURONS, EACH, ROWS = 10, 200, 10, 2000
SIZE, TRAINED_ON = 24, 1200

CLAIMS = [
    Claim("mean max cosine of planted features with SNMF's directions", "mmcs", 0.95, null="shuffled_mmcs"),
    Claim("gain over PCA", "over_pca", 0.15, null="shuffled_over_pca"),
    Claim("on permuted samples the share of variance left is many times larger", "shuffled_ratio", 10.0, null="fresh_ratio"),
    Claim("in a classifier, steering a feature raises its class's logit (in standard deviations)", "steering", 0.3,
          null="random_steering"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Recover planted features, and steer a trained network with features found in it."""
    recording, truth = planted(seed)
    basis, shuffled = (best_start(r, seed) for r in (recording, permuted(recording, seed)))
    fresh = reconstruction(Recording.of(samples(truth, seed + 1000), site="planted"), basis)["fvu"]
    dense, components = semi_nmf(recording, components=FEATURES, seed=seed), pca(recording, components=FEATURES)
    scores = {name: mmcs(b.directions, truth) for name, b in
              {"snmf": basis, "null": shuffled, "dense": dense, "pca": components}.items()}  # fmt: skip
    return {
        "mmcs": scores["snmf"], "shuffled_mmcs": scores["null"], "pca_mmcs": scores["pca"], "dense_mmcs": scores["dense"],
        "over_pca": scores["snmf"] - scores["pca"], "shuffled_over_pca": scores["null"] - scores["pca"],
        "shuffled_ratio": shuffled.metrics["fvu"] / basis.metrics["fvu"],
        "fresh_ratio": fresh / basis.metrics["fvu"], "fvu": basis.metrics["fvu"], **steered(seed),
    }  # fmt: skip


def best_start(recording: Recording, seed: int) -> NonNegativeParts:
    """The fit with the least error of three starts: the problem is not convex."""
    settings = {"components": FEATURES, "share": EACH / NEURONS, "steps": 200, "seed": seed}
    return min((snmf(recording, init=how, **settings) for how in STARTS), key=lambda basis: basis.metrics["fvu"])


def planted(seed: int) -> tuple[Recording, Tensor]:
    """Samples and the features that they are made of."""
    g = torch_rng(seed, "planted features")
    features = torch.zeros(FEATURES, NEURONS)
    for row in features:
        row[torch.randperm(NEURONS, generator=g)[:EACH]] = torch.randint(0, 2, (EACH,), generator=g) * 2.0 - 1.0
    return Recording.of(samples(features, seed), site="planted"), features


def samples(features: Tensor, seed: int) -> Tensor:
    """Exponential weights of the active features, and noise."""
    g = torch_rng(seed, "samples")
    codes = -torch.rand(ROWS, FEATURES, generator=g).clamp_min(1e-9).log()
    codes = codes * (torch.rand(ROWS, FEATURES, generator=g) < 0.15)
    return codes @ features + 0.05 * torch.randn(ROWS, NEURONS, generator=g)


def permuted(recording: Recording, seed: int) -> Recording:
    """Every neuron permuted over the samples by itself."""
    x, g = recording.matrix(), torch_rng(seed, "permuted")
    return Recording.of(torch.stack([column[torch.randperm(len(x), generator=g)] for column in x.T], dim=1), site="planted")


def steered(seed: int) -> dict[str, float]:
    """Train a classifier of digits, find features in its first hidden layer, and add them on images it was not shown."""
    images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(images), generator=torch_rng(seed, "digits"))
    images, labels = images[order].float() / 16, labels[order].long()
    shown, held = slice(0, TRAINED_ON), slice(TRAINED_ON, None)
    module = perceptron([64, 64, 64, 10], seed=seed)
    fit(module, lambda _: nn.functional.cross_entropy(module(images[shown]), labels[shown]), 300, lr=5e-3)
    subject = Subject(module, name="digits")
    recording = subject.record(images[shown], ["1"])
    basis = snmf(recording, components=SIZE, share=0.15, steps=500, seed=seed)
    codes, g = basis.encode(recording.matrix()), torch_rng(seed, "random support")
    classes = torch.stack([codes[labels[shown] == c].mean(0) for c in range(10)]).argmax(0)
    sizes = codes.quantile(0.95, dim=0)
    moved = torch.stack([row[torch.randperm(64, generator=g)] for row in basis.directions])
    sae = topk_sae(recording, latents=SIZE, k=4, steps=400, batch=256, lr=3e-3, seed=seed)
    sae_codes = sae.encode(recording.matrix())
    sae_classes = torch.stack([sae_codes[labels[shown] == c].mean(0) for c in range(10)]).argmax(0)
    clean = subject.run(images[held]).logits
    accuracy = (clean.argmax(1) == labels[held]).float().mean()

    def effect(directions: Tensor, targets: Tensor) -> Tensor:
        total = 0.0
        for direction, size, target in zip(directions, sizes, targets):
            after = subject.run(images[held], edits=[steer("1", size * direction)]).logits
            change = (after - clean) - (after - clean).mean(1, keepdim=True)
            total = total + change[labels[held] != target, target].mean() / clean.std()
        return total / len(directions)

    return {
        "steering": effect(basis.directions, classes), "random_steering": effect(moved, classes),
        "sae_steering": effect(sae.directions, sae_classes), "digits_accuracy": accuracy,
    }  # fmt: skip
