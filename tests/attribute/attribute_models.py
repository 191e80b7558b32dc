"""Random small networks of three kinds in float64, with inputs, and slow attributions written from the papers' formulas."""

import numpy as np
import torch
from torch import Tensor, nn

from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

KINDS = ("mlp", "cnn", "embedding")


class Tokens(nn.Module):
    """Embed, mix positions, classify."""

    def __init__(self, vocab: int, width: int, length: int, classes: int):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.hidden = nn.Linear(length * width, 12)
        self.act = nn.GELU()
        self.out = nn.Linear(12, classes)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.out(self.act(self.hidden(self.embed(input_ids).flatten(1))))


def smooth(seed: int) -> nn.Module:
    return (nn.Tanh(), nn.GELU(), nn.Softplus(), nn.SiLU(), nn.ReLU())[seed % 5]


def model(kind: str, seed: int) -> tuple[Subject, Task]:
    """A random network and a task of four examples and three classes."""
    g = torch.Generator().manual_seed(seed)
    if kind == "mlp":
        module = nn.Sequential(nn.Linear(6, 10), smooth(seed), nn.Linear(10, 7), smooth(seed + 1), nn.Linear(7, 3))
        clean = torch.randn(4, 6, generator=g, dtype=torch.float64)
    elif kind == "cnn":
        module = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), smooth(seed), nn.AvgPool2d(2), nn.Conv2d(4, 3, 3), smooth(seed), nn.Flatten(),
            nn.Linear(3 * 2 * 2, 3),
        )  # fmt: skip
        clean = torch.randn(4, 2, 8, 8, generator=g, dtype=torch.float64)
    else:
        module = Tokens(9, 5, 4, 3)
        clean = torch.randint(9, (4, 4), generator=g)
    module = module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) / max(1, p[0].numel()) ** 0.5)
    answers = torch.randint(3, (4,), generator=g)
    wrong = (answers + 1) % 3
    of = "tokens" if kind == "embedding" else "image"
    return Subject(module), Task(kind, clean, clean.flip(0), answers, wrong, kind=of, groups=[0, 1, 2, 3])


def behind(kind: str, subject: Subject, task: Task) -> tuple[Tensor, callable]:
    """The input of what follows the attributed site, and the metric as a plain function of it, without the package."""
    rows = torch.arange(len(task))

    def metric(logits: Tensor) -> Tensor:
        return logits[rows, task.answers] - logits[rows, task.wrong]

    m = subject.module
    if kind != "embedding":
        return task.clean, lambda x: metric(m(x))
    with torch.no_grad():
        x = m.embed.weight[task.clean]
    return x, lambda x: metric(m.out(m.act(m.hidden(x.flatten(1)))))


def slow_gradient(f, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_(True)
    return torch.autograd.grad(f(leaf).sum(), leaf)[0]


def slow_integrated_gradients(f, x: Tensor, start: Tensor, steps: int) -> Tensor:
    """The integral, one node at a time."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for node, weight in zip(nodes, weights):
        a = (node + 1) / 2
        total += weight / 2 * slow_gradient(f, start + a * (x - start))
    return (x - start) * total
