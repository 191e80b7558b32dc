"""Worlds of methods on attribution graphs: the planted network with its own units as coordinates of one attention output."""

from dataclasses import replace
from typing import Any

import torch

from microtome.errors import MicrotomeError, ShapeError, UsageError
from microtome.method import Method
from microtome.subject.basis import Identity
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.testing.planted_network import ANSWER, D_MODEL, KEYS, PlantedNetwork, planted_network
from microtome.trace.attribution_graph import KINDS


def prompt_world(seed: int, structured: bool = True) -> World:
    """One prompt of the planted network, its answer against the wrong one, and the units of the planted head's output."""
    planted = planted_network(seed, structured=structured)
    basis = Identity(f"blocks.{planted.block}.attn.out", D_MODEL)
    bound = planted.subject.bind(planted.task)
    given = {"subject": planted.subject, "inputs": bound.inputs["input_ids"][:1], "bases": [basis]}
    target = (int(bound.answers[0]), int(bound.wrong[0]))
    return World(given, {"planted": planted}, {"target": target})


def task_world(seed: int, structured: bool = True) -> World:
    """The whole task."""
    planted = planted_network(seed, structured=structured)
    basis = Identity(f"blocks.{planted.block}.attn.out", D_MODEL)
    return World({"subject": planted.subject, "task": planted.task, "bases": [basis]}, {"planted": planted})


def key_share(result: Any, world: World) -> float:
    """Share of the tokens' absolute effects that the planted position has."""
    planted: PlantedNetwork = world.truth["planted"]
    tokens = result.kind == KINDS.index("token")
    whole = float(result.effect[tokens].abs().sum())
    here = float(result.effect[tokens & (result.position == planted.position)].abs().sum())
    return here / whole if whole else 0.0


def answer_share(result: Any, world: World) -> float:
    """Share of the coordinates' absolute effects in the planted directions of the answer."""
    features = result.kind == KINDS.index("feature")
    inside = features & (result.index >= ANSWER) & (result.index < ANSWER + KEYS)
    whole = float(result.effect[features].abs().sum())
    return float(result.effect[inside].abs().sum()) / whole if whole else 0.0


def prompt_refusals(method: Method) -> list[Refusal]:
    """Several prompts, no bases, a basis of another width, a token that is not there."""
    world = prompt_world(0)
    two = torch.cat([world.given["inputs"]] * 2)
    return [
        *network_refusals(method),
        Refusal("two prompts", {"inputs": two}, ShapeError, "one prompt"),
        Refusal("no bases", {"bases": []}, UsageError, "no bases"),
        Refusal("a basis of another width", {"bases": [Identity("blocks.0.attn.out", 5)]}, ShapeError, "5 units"),
        Refusal("a misspelt site", {"bases": [Identity("blocks.0.attn.ot", D_MODEL)]}, MicrotomeError, "attn.out"),
        Refusal("a token that is not there", {"target": 99}, UsageError, "0..15"),
    ]


def strange_bases(_method: Method) -> list[Refusal]:
    """A basis that was fitted on another network."""
    basis = Identity("blocks.0.attn.out", D_MODEL, subject="f" * 64)
    return [Refusal("a basis of another subject", {"bases": [basis]}, MicrotomeError, "subject")]


def task_refusals(method: Method) -> list[Refusal]:
    """No bases, a wrong width, pairs that do not correspond, an unknown metric."""
    task = task_world(0).given["task"]
    shorter = replace(task, corrupt=task.corrupt[:, :-1])
    return [
        *network_refusals(method),
        Refusal("no bases", {"bases": []}, UsageError, "no bases"),
        Refusal("a basis of another width", {"bases": [Identity("blocks.0.attn.out", 5)]}, ShapeError, "5 units"),
        Refusal("pairs of unequal length", {"task": shorter}, ShapeError, "equal length"),
        Refusal("an unknown metric", {"metric": "logit_diference"}, UsageError, "logit_difference"),
    ]
