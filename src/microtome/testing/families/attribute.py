"""Methods that say why: the position whose token was copied must carry the attribution; for maps of pictures, the spot."""

from dataclasses import replace

import torch

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import first_examples, network_refusals, network_world
from microtome.testing.planted_network import LENGTH
from microtome.testing.worlds import own_world

#: Share of prompts whose largest attribution stands at the planted position.
PLANTED = 0.9


def tiny(method: Method, seed: int) -> World:
    """A network in which one head copies one token to the answer."""
    if own := own_world(method):
        return own.tiny(method, seed)
    return _from_mean(network_world(seed))


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    if own := own_world(method):
        return own.null(method, seed)
    return _from_mean(network_world(seed, structured=False))


def _from_mean(world: World) -> World:
    """Baselines, of inner paths too, stand at the mean embedding: zero lies where the first layer norm blows up. A value,
    not the word "mean", so that an example's attribution does not depend on the others in its batch."""
    subject, inputs = world.given["subject"], world.given["inputs"]
    mean = subject.run(inputs, record=["embed"], logits="none")["embed"].mean(dim=(0, 1))
    return replace(world, settings={**world.settings, "baseline": mean, "inner": mean})


def truth(method: Method, result, world: World) -> float:
    """Share of prompts whose largest absolute attribution stands at the planted position."""
    if own := own_world(method):
        return own.truth(method, result, world)
    values = rows(result).abs()
    values = values.reshape(len(values), LENGTH, -1).sum(-1)
    return float((values.argmax(1) == world.truth["planted"].position).double().mean())


def rows(result) -> torch.Tensor:
    """Attributions [examples, positions, ...]."""
    values = getattr(result, "values", result)
    return torch.as_tensor(values() if callable(values) else values).detach().cpu()


def part(world: World, n: int) -> World:
    """The first prompts only, by the world's own way to cut where it has one."""
    cut = world.truth.get("part")
    return cut(world, n) if cut else first_examples(world, n)


def refusals(method: Method) -> list[Refusal]:
    """Wrong sites and seeds, or what the method's own world says."""
    own = own_world(method)
    return own.refusals(method) if hasattr(own, "refusals") else network_refusals(method)


def strangers(method: Method) -> list[Refusal]:
    """Nouns of another subject, where the method takes a second one."""
    own = own_world(method)
    return own.strangers(method) if hasattr(own, "strangers") else []
