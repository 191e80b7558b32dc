"""Worlds of `generation`: the planted network continues its prompts by the token that it copies; token ids, no tokenizer."""

from functools import partial
from typing import Any

import torch

from microtome.attribute.occlusion import occlusion
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families import networks


def tiny(method: Method, seed: int) -> World:
    """The planted network."""
    return _world(networks.network_world(seed))


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _world(networks.network_world(seed, structured=False))


def _world(world: World) -> World:
    subject, task = world.given["subject"], world.given["task"]
    mean = subject.run(world.given["inputs"], record=["embed"], logits="none")["embed"].mean(dim=(0, 1))
    given = {"continuation": task.answers[:, None], "contrast": task.wrong[:, None], "by": partial(occlusion, baseline=mean)}
    return World({"subject": subject, "prompts": task.clean}, {**world.truth, "part": part}, given)


def part(world: World, n: int) -> World:
    """The first prompts only."""
    settings = {name: value if name == "by" else value[:n] for name, value in world.settings.items()}
    return World({**world.given, "prompts": world.given["prompts"][:n]}, world.truth, settings)


def truth(method: Method, result: Any, world: World) -> float:
    """Share of steps whose largest attribution, which must be positive, stands at the planted position."""
    largest, at = result.by_position().max(1)
    return float(((at == world.truth["planted"].position) & (largest > 0)).double().mean())


def refusals(method: Method) -> list[Refusal]:
    """Continuations that do not fit, or do not differ from what they are compared with."""
    given = tiny(method, 0).settings["continuation"]
    return [
        Refusal("fewer continuations than prompts", {"continuation": given[:3]}, ShapeError, "as many continuations"),
        Refusal("a contrast that is the continuation", {"contrast": given}, Degenerate, "nothing to tell apart"),
        Refusal("continuations that are no token ids", {"continuation": given.double()}, UsageError, "token ids"),
        Refusal("no tokens to generate", {"tokens": 0}, UsageError, "tokens"),
        Refusal("spans of token ids", {"spans": "words"}, UsageError, "texts"),
        Refusal("prompts that are no token ids", {"prompts": torch.zeros(2, 3)}, UsageError, "token ids"),
    ]
