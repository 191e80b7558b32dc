"""Many small networks of one architecture, trained at once: the unit of a population study is the model."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from microtome.errors import UsageError
from microtome.organisms.fit import fit
from microtome.organisms.small import IGNORED


class _Stacked(nn.Module):
    """The parameters of all models, one axis more."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        named = [dict(m.named_parameters()) for m in models]
        self.values = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(torch.stack([n[name].detach() for n in named])) for name in named[0]}
        )

    def parameters_of(self) -> dict[str, Tensor]:
        """Name -> values of all models [models, ...]."""
        return {name.replace("/", "."): value for name, value in self.values.items()}


def fit_population(
    models: Sequence[nn.Module],
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
) -> None:
    """Train models of one architecture in place, side by side; each sees rows of its own.

    Parameters
    ----------
    models : networks with the same parameter shapes, e.g. of `small.decoder(..., family="plain")` with different seeds.
    batch : step -> ids [models, b, t] and targets [models, b, t] (`small.IGNORED` where nothing is asked).
    steps, lr, weight_decay : as in `small.fit_tokens`.

    Raises
    ------
    UsageError
        When there is no model, or two differ in shape.

    Notes
    -----
    One batched product serves all models, so 24 small ones cost little more than one. Gradients are clipped together.
    """
    shapes = [[(n, p.shape) for n, p in m.named_parameters()] for m in models]
    if not models or any(s != shapes[0] for s in shapes):
        raise UsageError("a population needs models of one architecture, at least one.")
    stacked, one = _Stacked(models), models[0]

    def logits(values: dict[str, Tensor], ids: Tensor) -> Tensor:
        return torch.func.functional_call(one, values, (ids,)).logits

    def loss(step: int) -> Tensor:
        ids, targets = batch(step)
        found = torch.func.vmap(logits)(stacked.parameters_of(), ids)
        return nn.functional.cross_entropy(found.flatten(0, 2), targets.flatten(), ignore_index=IGNORED)

    fit(stacked, loss, steps, lr=lr, weight_decay=weight_decay)
    with torch.no_grad():
        for i, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.copy_(stacked.parameters_of()[name][i])
            model.eval()
