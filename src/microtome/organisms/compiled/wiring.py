"""Writing weights by hand: named subspaces of the residual stream, and heads as bilinear rules between them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from microtome.errors import ShapeError
from microtome.organisms.compiled.model import CompiledConfig, CompiledTransformer
from microtome.organisms.truth import HeadRole
from microtome.rng import torch_rng


@dataclass(frozen=True)
class Layout:
    """Consecutive coordinates of the residual stream given to named subspaces."""

    sizes: dict[str, int]

    @property
    def width(self) -> int:
        """Coordinates used in all."""
        return sum(self.sizes.values())

    def __getitem__(self, name: str) -> slice:
        start = 0
        for other, size in self.sizes.items():
            if other == name:
                return slice(start, start + size)
            start += size
        raise KeyError(name)

    def directions(self, d_model: int) -> dict[str, Tensor]:
        """Each subspace as orthonormal rows [k, d_model]."""
        eye = torch.eye(d_model)
        return {name: eye[self[name]] for name in self.sizes}


Term = tuple[str, str, float]


@dataclass(frozen=True)
class Head:
    """A rule: score(query, key) = sum of weight * <query subspace, key subspace>; then copy subspaces.

    Subspaces in a term have equal size. `scores` are the attention scores before softmax (the 1/sqrt(d_head) is
    taken care of); `copies` are (from, to, weight).
    """

    layer: int
    head: int
    role: str
    scores: tuple[Term, ...] = field(default=())
    copies: tuple[Term, ...] = field(default=())


@torch.no_grad()
def wire(module: CompiledTransformer, layout: Layout, rule: Head) -> None:
    """Write one head in place: a run of its slots per key subspace, and per subspace copied."""
    attn, size = module.transformer.h[rule.layer].attn, module.config.head_dim
    rows = slice(rule.head * size, (rule.head + 1) * size)
    q, k, v = (torch.zeros(size, module.config.hidden_size) for _ in range(3))
    o = torch.zeros(module.config.hidden_size, size)
    slots: dict[str, int] = {}
    for query, key, weight in rule.scores:
        a, b = layout[query], layout[key]
        n = b.stop - b.start
        start = slots.setdefault(key, sum(layout.sizes[other] for other in slots))
        _fits(n == a.stop - a.start and start + n <= size, rule)
        at = torch.arange(start, start + n)
        q[at, torch.arange(a.start, a.stop)] += weight * size**0.5
        k[at, torch.arange(b.start, b.stop)] = 1.0
    reads: dict[str, int] = {}
    for origin, target, weight in rule.copies:
        a, b = layout[origin], layout[target]
        n = a.stop - a.start
        start = reads.setdefault(origin, sum(layout.sizes[other] for other in reads))
        _fits(n == b.stop - b.start and start + n <= size, rule)
        at = torch.arange(start, start + n)
        v[at, torch.arange(a.start, a.stop)] = 1.0
        o[torch.arange(b.start, b.stop), at] += weight
    attn.q_proj.weight[rows], attn.k_proj.weight[rows], attn.v_proj.weight[rows] = q, k, v
    attn.o_proj.weight[:, rows] = o


@torch.no_grad()
def wire_noise(module: CompiledTransformer, rule: Head, *, seed: int, scale: float = 0.02) -> None:
    """A head that attends and writes at random, too weakly to matter (`scale` per output coordinate)."""
    attn, size, width = module.transformer.h[rule.layer].attn, module.config.head_dim, module.config.hidden_size
    rows = slice(rule.head * size, (rule.head + 1) * size)
    generator = torch_rng(seed, "noise head", rule.layer, rule.head)
    for linear in (attn.q_proj, attn.k_proj, attn.v_proj):
        linear.weight[rows] = torch.randn(size, width, generator=generator) * width**-0.5
    attn.o_proj.weight[:, rows] = scale * torch.randn(width, size, generator=generator) * size**-0.5


def blank(config: CompiledConfig) -> CompiledTransformer:
    """A model of zeros, in evaluation mode, no random draw made."""
    with torch.device("meta"):
        module = CompiledTransformer(config)
    module = module.to_empty(device="cpu").eval()
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def assemble(config: CompiledConfig, layout: Layout, rules: list[Head], *, seed: int = 0) -> CompiledTransformer:
    """A blank model with the rules wired in and every other head given noise."""
    module = blank(config)
    for rule in with_noise(config, rules):
        if rule.role == "noise":
            wire_noise(module, rule, seed=seed)
        else:
            wire(module, layout, rule)
    return module


def with_noise(config: CompiledConfig, rules: list[Head]) -> list[Head]:
    """The rules, and a noise rule for each head that has none, in the order of the model."""
    known = {(rule.layer, rule.head): rule for rule in rules}
    places = [(i, j) for i in range(config.num_hidden_layers) for j in range(config.num_attention_heads)]
    return [known.get(place, Head(*place, "noise")) for place in places]


def roles(rules: list[Head]) -> tuple[HeadRole, ...]:
    """The role of each head, without its wiring."""
    return tuple(HeadRole(rule.layer, rule.head, rule.role) for rule in rules)


def _fits(condition: bool, rule: Head) -> None:
    if not condition:
        raise ShapeError(f"head {rule.layer}.{rule.head} ({rule.role}) needs more room than the model's head_dim.")
