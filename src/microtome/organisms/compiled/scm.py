"""A linear structural causal model as a network: total, direct and indirect effects are products of its matrices.

    first   = A x
    second  = B first + C x
    outcome = F first + G second + D x

Every arrow is a module of its own (an edge that can be cut), every variable an Identity (a node that can be set). No
biases, no non-linearity: effects are the same at every input, and total = direct + indirect holds exactly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from microtome.errors import UsageError, nearest
from microtome.rng import torch_rng
from microtome.stimuli.stimuli import Stimuli

TREATMENTS, FIRST, SECOND, OUTCOMES = 3, 8, 5, 2
PLANTED = ("first", 5)
ARROWS = {
    "x_to_first": ("x", "first"),
    "x_to_second": ("x", "second"),
    "x_to_outcome": ("x", "outcome"),
    "first_to_second": ("first", "second"),
    "first_to_outcome": ("first", "outcome"),
    "second_to_outcome": ("second", "outcome"),
}
_SIZES = {"x": TREATMENTS, "first": FIRST, "second": SECOND, "outcome": OUTCOMES}


class LinearSCM(nn.Module):
    """Nodes `x`, `first`, `second`, `outcome` (Identity) joined by the arrows of `ARROWS` (Linear without bias).

    Input float [n, 3]; output float [n, 2].
    """

    def __init__(self):
        super().__init__()
        self.config = {"model_type": "microtome_linear_scm"}
        self.x = nn.Identity()
        self.x_to_first = nn.Linear(TREATMENTS, FIRST, bias=False)
        self.first = nn.Identity()
        self.x_to_second = nn.Linear(TREATMENTS, SECOND, bias=False)
        self.first_to_second = nn.Linear(FIRST, SECOND, bias=False)
        self.second = nn.Identity()
        self.x_to_outcome = nn.Linear(TREATMENTS, OUTCOMES, bias=False)
        self.first_to_outcome = nn.Linear(FIRST, OUTCOMES, bias=False)
        self.second_to_outcome = nn.Linear(SECOND, OUTCOMES, bias=False)
        self.outcome = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.x(x)
        first = self.first(self.x_to_first(x))
        second = self.second(self.first_to_second(first) + self.x_to_second(x))
        return self.outcome(self.x_to_outcome(x) + self.first_to_outcome(first) + self.second_to_outcome(second))


@dataclass(frozen=True)
class LinearEffects:
    """The effects of a unit change of x on the outcome, as matrices [outcome, x]."""

    arrows: dict[str, Tensor]
    """Coefficients of each arrow: [size of its head, size of its tail]."""
    planted: tuple[str, int]
    """(node, unit) of the mediator that carries most of the effect of x[0] on outcome[0]."""

    @property
    def total(self) -> Tensor:
        """All paths."""
        return self.direct + self.through("first") + self.arrows["second_to_outcome"] @ self.arrows["x_to_second"]

    @property
    def direct(self) -> Tensor:
        """The arrow from x to the outcome alone."""
        return self.arrows["x_to_outcome"]

    @property
    def indirect(self) -> Tensor:
        """All paths through any mediator; total - direct."""
        return self.total - self.direct

    def through(self, node: str, basis: Tensor | None = None) -> Tensor:
        """The effect that passes through `node`: what patching it from the treated run into the untreated one adds.

        Parameters
        ----------
        node : "first" or "second".
        basis : orthonormal rows [k, size]: only what passes through this subspace (a unit is a row of the identity).

        Raises
        ------
        UsageError
            No such mediator.
        """
        if node == "first":
            into = self.arrows["x_to_first"]
            out = self.arrows["first_to_outcome"] + self.arrows["second_to_outcome"] @ self.arrows["first_to_second"]
        elif node == "second":
            into = self.arrows["x_to_second"] + self.arrows["first_to_second"] @ self.arrows["x_to_first"]
            out = self.arrows["second_to_outcome"]
        else:
            raise UsageError(f"no mediator {node!r} between x and outcome.{nearest(node, ('first', 'second'))}")
        return out @ into if basis is None else out @ basis.T @ basis @ into

    def unit(self, node: str, index: int) -> Tensor:
        """`through` one unit."""
        return self.through(node, torch.eye(_SIZES[node])[index : index + 1])

    def arrow(self, name: str) -> Tensor:
        """The effect that passes over one arrow, all else kept at the untreated run."""
        if name not in self.arrows:
            raise UsageError(f"no arrow {name!r}.{nearest(name, self.arrows)}")
        tail, head = ARROWS[name]
        reach = {"x": torch.eye(TREATMENTS), "first": self.arrows["x_to_first"]}
        reach["second"] = self.arrows["x_to_second"] + self.arrows["first_to_second"] @ reach["first"]
        leave = {"outcome": torch.eye(OUTCOMES), "second": self.arrows["second_to_outcome"]}
        leave["first"] = self.arrows["first_to_outcome"] + leave["second"] @ self.arrows["first_to_second"]
        return leave[head] @ self.arrows[name] @ reach[tail]


def build() -> tuple[LinearSCM, None, LinearEffects]:
    """The model, no tokenizer, and its effects."""
    with torch.device("meta"):
        module = LinearSCM()
    module = module.to_empty(device="cpu").eval()
    with torch.no_grad():
        for name, weight in coefficients().items():
            getattr(module, name).weight.copy_(weight)
    return module, None, LinearEffects(coefficients(), PLANTED)


def examples(n: int, seed: int = 0) -> Stimuli:
    """Standard normal treatments [n, 3]."""
    inputs = torch.randn(n, TREATMENTS, generator=torch_rng(seed, "scm"))
    return Stimuli(inputs, kind="vector", name="scm-treatments")


def coefficients() -> dict[str, Tensor]:
    """Small random coefficients everywhere, and one strong path x[0] -> planted unit -> outcome[0]."""
    arrows = {}
    for name, (tail, head) in ARROWS.items():
        generator = torch_rng(0, "scm", name)
        arrows[name] = 0.3 * torch.randn(_SIZES[head], _SIZES[tail], generator=generator)
    arrows["x_to_first"][PLANTED[1], 0] = 2.0
    arrows["first_to_outcome"][0, PLANTED[1]] = 1.5
    return arrows
