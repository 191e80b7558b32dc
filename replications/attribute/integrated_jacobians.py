"""Möller, Nikolaev, Padó (2023), An Attribution Method for Siamese Encoders: a similarity divided into pairs of tokens.

A two-layer transformer encoder of width 32 with mean pooling is trained contrastively on pairs of texts that share 2 of
their 8 words; as in the paper it is shifted so that e(reference) = 0, the reference a sequence of PAD. Integrated Jacobians
add up to the similarity less the terms of the references, to the error of the quadrature, which falls with the nodes; the
Jacobian of one point, the null, does not. With the shift they add up to the similarity itself, without it to another number.
Positive shares lie on pairs of equal words, more than in the untrained encoder, where equal words attract each other as well.
Everything in float64.

https://arxiv.org/abs/2310.05703
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import wilcoxon
from torch import Tensor, nn

from microtome.attribute import integrated_jacobians
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 241)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.attribute.integrated_jacobians", "microtome.attribute.paths", "microtome.subject.gradients")
PAD, WORDS, LENGTH, SHARED, PAIRS, NODES = 0, 48, 8, 2, 30, 10

CLAIMS = [
    Claim("the sum is the similarity less the references' terms: median relative error, 100 nodes", "error_100", 0.01, "<=",
          null="error_plain"),
    Claim("the error falls: 30 nodes over 10", "ratio_30_10", 0.5, "<=", null="ratio_plain"),
    Claim("with a shifted encoder the sum is the similarity itself", "shifted_error", 0.01, "<=", null="unshifted_error"),
    Claim("positive mass on pairs of equal words, in uniform shares", "matching", 3.0, null="other_pair"),
    Claim("more than in the untrained encoder: p, paired", "p_trained", 0.01, "<=", null="p_untrained"),
    Claim("swapping the texts transposes: largest relative difference", "swapped", 1e-6, "<=", null="not_transposed"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train an encoder, divide its similarities."""
    nets = {name: Encoder.of(seed, name) for name in ("trained", "untrained", "another")}
    stream = rng(seed, "siamese", "train")
    fit(nets["trained"], lambda _: loss(nets["trained"], *texts(40, stream)), 320, lr=4e-3)
    a, b = texts(PAIRS, rng(seed, "siamese", "test"))
    same = a[:, :, None] == b[:, None, :]
    found = {name: divided(net, a, b, NODES) for name, net in nets.items()}
    errors = {n: float(divided(nets["trained"], a[:12], b[:12], n).relative_residual.median()) for n in (1, 10, 30, 100)}
    plain = divided(nets["trained"].unshifted(), a, b, NODES)
    unshifted, shifted = ((p.values.sum((1, 2)) / p.output - 1).abs().median() for p in (plain, found["trained"]))
    mass = {name: matching(part.values, same) for name, part in found.items()}
    swapped = divided(nets["trained"], b, a, NODES).values
    mine, size = found["trained"].values, float(found["trained"].values.abs().max())
    return {
        "error_100": errors[100], "error_plain": errors[1], "ratio_30_10": errors[30] / errors[10],
        "ratio_plain": errors[1] / errors[1], "error_10": errors[10], "error_30": errors[30],
        "shifted_error": float(shifted), "unshifted_error": float(unshifted),
        "matching": float(np.mean(mass["trained"])), "other_pair": float(np.mean(matching(mine, same.roll(1, 0)))),
        "untrained_matching": float(np.mean(mass["untrained"])),
        "p_trained": wilcoxon(mass["trained"], mass["untrained"], alternative="greater").pvalue,
        "p_untrained": wilcoxon(mass["another"], mass["untrained"], alternative="greater").pvalue,
        "swapped": float((swapped.mT - mine).abs().max()) / size, "not_transposed": float((swapped - mine).abs().max()) / size,
    }  # fmt: skip


class Encoder(nn.Module):
    """Embeddings, two blocks of attention, mean pooling; less the same of the reference, unless `shift` is 0."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(1 + WORDS, 32), nn.Parameter(torch.randn(LENGTH, 32) * 0.1)
        block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.shift = 1.0

    def forward(self, input_ids: Tensor) -> Tensor:
        e = self.pooled(self.embed(input_ids))
        return e - self.shift * self.pooled(self.embed.weight[PAD].expand(1, LENGTH, -1))

    def pooled(self, x: Tensor) -> Tensor:
        return self.blocks(x + self.place).mean(1)

    @classmethod
    def of(cls, seed: int, name: str) -> "Encoder":
        """Drawn anew; "trained" and "untrained" begin alike."""
        return seeded(cls, seed, "another" if name == "another" else "siamese").double().eval()

    def unshifted(self) -> "Encoder":
        """The same without the shift."""
        copy = Encoder().double().eval()
        copy.load_state_dict(self.state_dict())
        copy.shift = 0.0
        return copy


def texts(n: int, stream: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pairs [n, 8], [n, 8] that share two words."""
    order = stream.permuted(np.tile(np.arange(1, 1 + WORDS), (n, 1)), axis=1)
    a, b = order[:, :LENGTH], order[:, LENGTH - SHARED : 2 * LENGTH - SHARED]
    return torch.tensor(stream.permuted(a, axis=1)), torch.tensor(stream.permuted(b, axis=1))


def loss(net: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    return F.cross_entropy(net(a) @ net(b).T, torch.arange(len(a)))


def divided(net: nn.Module, a: Tensor, b: Tensor, steps: int):
    one = torch.ones(len(a), dtype=torch.long)
    pad = net.embed.weight[PAD].detach()
    task = Task("pairs", a, b, one, 1 - one, kind="tokens", groups=list(range(len(a))))
    return integrated_jacobians(Subject(net), task, at="embed", baseline=pad, steps=steps)


def matching(values: Tensor, same: Tensor) -> np.ndarray:
    """Share of the positive mass that lies on chosen pairs, over their share of all pairs."""
    positive = values.clamp(min=0)
    return ((positive * same).sum((1, 2)) / positive.sum((1, 2)) / same.double().mean((1, 2))).numpy()
