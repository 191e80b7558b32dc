"""The climb: pictures are changed step by step so that what a network says of them rises."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.layout import Layout, layout_of
from microtome.attribute.visual.canvas import Canvas, Way
from microtome.attribute.visual.objectives import Objective
from microtome.attribute.visual.transforms import PENALTIES, Transforms
from microtome.errors import NonFinite, SiteError
from microtome.rng import torch_rng
from microtome.subject.hooks import Stop, Tap, attached
from microtome.subject.inputs import Inputs
from microtome.subject.run import logits_of, one_row

Read = Callable[[Tensor], Tensor]
#: Step (from 0), gradient at the picture -> what is followed.
Brush = Callable[[int, Tensor], Tensor]


@contextmanager
def reader(subject: Any, objective: Objective, like: Tensor) -> Iterator[Read]:
    """A function from pictures [n, ...] to the objective [n], with gradients; the network is as it was afterwards.

    Hooks are attached once for the whole climb; the forward stops where nothing more is read.
    """
    sites = {name: subject.site(name) for name in objective.sites if name}
    layouts: dict[str, Layout] = {}
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], Tensor]:
        def store(value: Tensor) -> Tensor:
            seen[name] = value
            if "" not in objective.sites and len(seen) == len(sites):
                raise Stop
            return value.clone()  # the network may go on in place

        return store

    def channels_first(name: str, value: Tensor) -> Tensor:
        if value.ndim < 3 or not name:
            return value
        if name not in layouts:
            layouts[name] = layout_of(subject, sites[name].name, value)
        return layouts[name].split(value)

    def read(pictures: Tensor) -> Tensor:
        seen.clear()
        with suppress(Stop):
            output = subject.call(Inputs({"": pictures}))
            if "" in objective.sites:
                seen[""] = one_row(logits_of(output))
        silent = [name for name in objective.sites if name not in seen]
        if silent:
            raise SiteError(f"{', '.join(silent)} never fired during the run: the module is not used by this forward.")
        return objective({name: channels_first(name, value) for name, value in seen.items()})

    parameters = [p for p in subject.module.parameters() if p.requires_grad]
    taps = [Tap(site, keep=keep(name)) for name, site in sites.items()]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with attached(subject.module, taps, Inputs({"": like}).frame_of):
            yield read
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def measure(read: Read, pictures: Tensor, chunk: int = 256) -> Tensor:
    """The objective of pictures, without gradients [n]."""
    with torch.no_grad():
        values = torch.cat([read(part) for part in pictures.split(chunk)])
    if not bool(torch.isfinite(values).all()):
        raise NonFinite(f"the objective of picture {int((~torch.isfinite(values)).nonzero()[0])} is not a number.")
    return values.cpu()


def climb(
    read: Read,
    canvas: Canvas,
    how: Way,
    z: Tensor,
    *,
    steps: int,
    lr: float,
    transforms: Transforms | None,
    penalties: Mapping[str, float],
    seed: int,
    brush: Brush | None = None,
) -> tuple[Tensor, Tensor]:
    """Pictures [n, channels, *places], and the objective of what the network was shown [steps, n].

    Without a `brush` the numbers `z` follow Adam. With one, its change of the gradient is kept: steps of one length along it,
    `lr` in the numbers' root mean square.
    """
    generator = torch_rng(seed, "transforms")
    z = z.detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([z], lr=lr)
    curve: list[Tensor] = []
    with torch.enable_grad():
        for step in range(steps):
            picture = canvas.squash(how.paint(canvas, z))
            if brush is not None:
                picture.register_hook(lambda g, step=step: brush(step, g))
            shown = picture if transforms is None else transforms(picture, canvas.fill, generator)
            value = read(shown)
            wanted = value
            for name, weight in penalties.items():
                wanted = wanted - weight * PENALTIES[name](picture, canvas.fill)
            adam.zero_grad()
            (-wanted).sum().backward()
            if not bool(torch.isfinite(value).all()):
                raise NonFinite(f"the objective is not a number at step {step}.")
            if brush is None:
                adam.step()
            else:
                with torch.no_grad():
                    z -= lr * _unit(z.grad)
            curve.append(value.detach())
    with torch.no_grad():
        return canvas.squash(how.paint(canvas, z)).detach(), torch.stack(curve).cpu()


def _unit(gradient: Tensor | None) -> Tensor | float:
    """The gradient of each picture over its root mean square."""
    if gradient is None:
        return 0.0
    size = gradient.flatten(1).square().mean(1).sqrt().clamp(min=1e-20)
    return gradient / size.reshape(-1, *[1] * (gradient.ndim - 1))


def random_numbers(canvas: Canvas, how: Way, n: int, seed: int) -> Tensor:
    """Numbers [n, ...] of random starts."""
    return how.spread * torch.randn(n, *how.numbers(canvas), generator=torch_rng(seed, "pictures"))
