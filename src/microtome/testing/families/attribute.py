"""Methods that say why: the position whose token was copied must carry the attribution."""

from dataclasses import replace

import torch

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import first_examples, network_refusals, network_world
from microtome.testing.planted_network import LENGTH

#: Share of prompts whose largest attribution stands at the planted position.
PLANTED = 0.9


def tiny(method: Method, seed: int) -> World:
    """A network in which one head copies one token to the answer."""
    return _from_mean(network_world(seed))


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _from_mean(network_world(seed, structured=False))


def _from_mean(world: World) -> World:
    """Baselines stand at the mean embedding: zero lies where the first layer norm blows up. A value, not the word "mean",
    so that an example's attribution does not depend on the others in its batch."""
    subject, inputs = world.given["subject"], world.given["inputs"]
    mean = subject.run(inputs, record=["embed"], logits="none")["embed"].mean(dim=(0, 1))
    return replace(world, settings={**world.settings, "baseline": mean})


def truth(method: Method, result, world: World) -> float:
    """Share of prompts whose largest absolute attribution stands at the planted position."""
    values = rows(result).abs()
    values = values.reshape(len(values), LENGTH, -1).sum(-1)
    return float((values.argmax(1) == world.truth["planted"].position).double().mean())


def rows(result) -> torch.Tensor:
    """Attributions [examples, positions, ...]."""
    values = getattr(result, "values", result)
    return torch.as_tensor(values() if callable(values) else values).detach().cpu()


def part(world: World, n: int) -> World:
    """The first prompts only."""
    return first_examples(world, n)


def refusals(method: Method) -> list[Refusal]:
    """Wrong sites and seeds."""
    return network_refusals(method)
