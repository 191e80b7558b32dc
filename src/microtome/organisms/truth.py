"""Truth: what is known about an organism, as plain values that a method's answer can be scored against."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class HeadRole:
    """One attention head and what it was wired to do."""

    layer: int
    """Block index."""
    head: int
    """Head index within the block."""
    role: str
    """Its part in the circuit, e.g. "mover"; "noise" when it has none."""


@dataclass(frozen=True)
class CircuitTruth:
    """The circuit of a compiled transformer."""

    circuit: tuple[HeadRole, ...]
    """Every head that has a part, backups included; all others are noise."""
    edges: tuple[tuple[str, str], ...]
    """(sender, receiver) in the vocabulary of `name`: a head writes what the other reads. "embed" and "logits" are ends."""
    heads: tuple[HeadRole, ...]
    """All heads of the model, noise ones included."""
    directions: dict[str, Tensor] = field(default_factory=dict, compare=False)
    """Named subspaces of the residual stream: [k, d_model], orthonormal rows."""

    def of(self, *roles: str) -> list[tuple[int, int]]:
        """(layer, head) of every head with one of `roles`."""
        return [(h.layer, h.head) for h in self.heads if h.role in roles]

    def role(self, layer: int, head: int) -> str:
        """The role of one head."""
        return next(h.role for h in self.heads if (h.layer, h.head) == (layer, head))


@dataclass(frozen=True)
class SceneTruth:
    """What a vision organism was trained to tell, and what was independent of it."""

    target: str
    """The concept that is the label."""
    classes: tuple[str, ...]
    """Its values, in the order of the logits."""
    irrelevant: tuple[str, ...]
    """Concepts drawn independently of the label: nothing about them helps."""
    watermark: float = 0.0
    """Share of training scenes whose corner named the class."""

    @classmethod
    def of_shape(cls, watermark: float = 0.0) -> "SceneTruth":
        """Label = shape, everything else independent."""
        from microtome.stimuli.vision.scenes import CONCEPTS

        others = tuple(name for name in CONCEPTS if name != "shape")
        return cls("shape", CONCEPTS["shape"], others, watermark)


def head_name(layer: int, head: int) -> str:
    """How edges name a head: "1.3" is head 3 of block 1."""
    return f"{layer}.{head}"


def unit_rows(rows: Tensor) -> Tensor:
    """Each row divided by its norm; rows of zeros stay zero."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
