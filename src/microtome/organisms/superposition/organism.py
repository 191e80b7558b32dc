"""Toy model of superposition: h = W x, x' = ReLU(W^T h + b), more features than dimensions.

Many instances are trained in one batched product, and the best is kept: single runs often end in local minima.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microtome.organisms import shelf
from microtome.organisms.fit import fit, seeded
from microtome.organisms.truth import unit_rows
from microtome.rng import torch_rng
from microtome.stimuli.algorithmic.sparse import draw, sparse_features
from microtome.stimuli.stimuli import Stimuli

NAME = "superposition"
CONFIG: dict[str, Any] = {
    "model_type": "microtome_toy_superposition",
    "features": 20,
    "hidden": 6,
    "density": 0.05,
}


@dataclass(frozen=True)
class SuperpositionTruth:
    """Where each input feature lives in the hidden layer."""

    directions: Tensor
    """[features, hidden]: what feature i adds to `encode`'s output at value 1."""
    norms: Tensor
    """[features]: about 1 where a feature is represented, about 0 where it is dropped."""
    represented: tuple[int, ...]
    """Features with norm above 0.5."""
    dimensionality: Tensor
    """[features]: |W_i|^2 / sum_j (W_i/|W_i| . W_j)^2, the share of a dimension that the feature has to itself."""
    density: float
    """Probability that a feature is active in the training data."""


class ToySuperposition(nn.Module):
    """`encode` (features to hidden, no bias), then `decode`, which reuses its weights, then `output` (ReLU)."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.encode = nn.Linear(features, hidden, bias=False)
        self.decode = Decode(self.encode, features)
        self.output: nn.Module = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.decode(self.encode(x)))


class Decode(nn.Module):
    """W^T h + b with the encoder's W. The encoder is held in a tuple, so its weight is listed once, as `encode.weight`."""

    def __init__(self, encode: nn.Linear, features: int):
        super().__init__()
        self._tied = (encode,)
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden @ self._tied[0].weight + self.bias


def truth(module: ToySuperposition, density: float) -> SuperpositionTruth:
    """Read the feature directions off the weights."""
    directions = module.encode.weight.detach().T.clone()
    norms = directions.norm(dim=1)
    overlap = (unit_rows(directions) @ directions.T).square().sum(1)
    share = norms.square() / overlap.clamp_min(1e-12)
    kept = tuple(int(i) for i in torch.nonzero(norms > 0.5)[:, 0])
    return SuperpositionTruth(directions, norms, kept, share, density)


def build() -> tuple[ToySuperposition, None, SuperpositionTruth]:
    """The trained model, no tokenizer, and its feature directions."""
    config = shelf.config(NAME)
    module = _empty(config["features"], config["hidden"])
    shelf.fill(NAME, module)
    return module, None, truth(module, config["density"])


def examples(n: int, seed: int = 0) -> Stimuli:
    """Sparse features from the training distribution."""
    return sparse_features(n, seed, features=CONFIG["features"], density=CONFIG["density"])


def train_instances(
    features: int,
    hidden: int,
    *,
    density: float,
    importance: Tensor | None = None,
    instances: int = 24,
    steps: int = 3000,
    relu: bool = True,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Train many toy models at once.

    Parameters
    ----------
    features, hidden : sizes n and m; the paper's n = 5, m = 2 and n = 20, m = 5.
    density : probability that a feature is active (1 - S).
    importance : weights of the squared errors [features]; default 1.
    instances, steps : models trained in parallel, Adam steps of batch 512.
    relu : False gives the linear control, which cannot use superposition.
    seed : random stream.

    Returns
    -------
    (W [instances, features, hidden], b [instances, features], loss [instances] on 8,192 fresh samples), best first.
    """
    weight = torch.ones(features) if importance is None else importance
    bank = nn.Module()
    start = torch.randn(instances, features, hidden, generator=torch_rng(seed, NAME, "start")) * features**-0.5
    bank.w, bank.b = nn.Parameter(start), nn.Parameter(torch.zeros(instances, 1, features))

    def error(x: Tensor) -> Tensor:
        y = (x @ bank.w) @ bank.w.transpose(1, 2) + bank.b
        y = y.relu() if relu else y
        return (weight * (x - y).square()).sum(-1).mean(-1)

    def loss(step: int) -> Tensor:
        x = draw(instances * 512, features, density, seed, "train", step).view(instances, 512, features)
        # At high sparsity the loss is tiny: divide by the density so that the step size means the same at each.
        return error(x).sum() / density

    fit(bank, loss, steps, lr=5e-3, weight_decay=0.0, betas=(0.9, 0.999), clip=1e9)
    with torch.no_grad():
        final = error(draw(8192, features, density, seed, "test")[None])
    order = final.argsort()
    return bank.w.detach()[order], bank.b.detach()[order, 0], final[order]


def train_on(
    x: Tensor, hidden: int, *, relu: bool = True, weight_decay: float = 0.0, steps: int = 1500, lr: float = 5e-3, seed: int = 0
) -> ToySuperposition:
    """Train one toy model on given features.

    Parameters
    ----------
    x : Tensor[n, features].
    hidden : dimensions.
    relu : False gives the linear control.
    weight_decay : of AdamW, decoupled.
    steps, lr : updates of batch 512.
    seed : start and batches.
    """
    module = seeded(lambda: ToySuperposition(x.shape[1], hidden), seed, f"{NAME} on data")
    if not relu:
        module.output = nn.Identity()
    g = torch_rng(seed, NAME, "batches")

    def loss(_: int) -> Tensor:
        rows = x[torch.randint(0, len(x), (512,), generator=g)]
        return (module(rows) - rows).square().sum(-1).mean()

    fit(module, loss, steps, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.999), clip=1e9)
    return module.eval()


def train(seed: int = 0) -> tuple[ToySuperposition, dict[str, Any], dict[str, float]]:
    """Train 24 instances and keep the best: (module, configuration, figures)."""
    sizes = {key: CONFIG[key] for key in ("features", "hidden", "density")}
    w, b, losses = train_instances(**sizes, seed=seed)
    module = _empty(CONFIG["features"], CONFIG["hidden"])
    with torch.no_grad():
        module.encode.weight.copy_(w[0].T)
        module.decode.bias.copy_(b[0])
    kept = len(truth(module, CONFIG["density"]).represented)
    figures = {"loss": float(losses[0]), "median_loss": float(losses.median()), "represented": kept}
    return module.eval(), CONFIG, figures


def _empty(features: int, hidden: int) -> ToySuperposition:
    """A model whose weights are about to be overwritten; no random draw."""
    with torch.device("meta"):
        module = ToySuperposition(features, hidden)
    return module.to_empty(device="cpu").eval()
