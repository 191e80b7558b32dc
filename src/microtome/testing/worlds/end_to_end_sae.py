"""The world of `end_to_end_sae`: a small decoder and ids; nothing is planted."""

from typing import Any

import torch

from microtome.errors import ShapeError, SiteError, UsageError
from microtome.method import Method
from microtome.organisms.small import decoder
from microtome.rng import torch_rng
from microtome.subject.inputs import as_inputs
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World

SITE, WORDS, WIDTH = "blocks.0.resid_post", 11, 16


def tiny(method: Method, seed: int) -> World:
    """A decoder of random weights."""
    subject = Subject(decoder(WORDS, layers=2, heads=2, width=WIDTH, context=8, seed=seed), name="small decoder")
    ids = torch.randint(0, WORDS, (12, 8), generator=torch_rng(seed, "ids"))
    return World({"subject": subject, "inputs": as_inputs(ids), "site": SITE})


null = tiny


def truth(method: Method, result: Any, world: World) -> float:
    """Nothing is planted; see the record's skips."""
    return 0.0


def refusals(method: Method) -> list[Refusal]:
    """A site that is none, one without positions, and a seed that is none."""
    return [
        Refusal("no such site", {"site": "blocks.9.resid_post"}, SiteError, "blocks"),
        Refusal("a site of heads and patterns", {"site": "blocks.0.attn.pattern"}, UsageError, "position"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A fitted basis takes no tensor of another width."""
    wider = torch.zeros(2, WIDTH + 1)
    return [Refusal("a tensor of another width", {}, ShapeError, str(WIDTH), lambda basis: basis.encode(wider))]
