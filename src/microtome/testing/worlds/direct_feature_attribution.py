"""Worlds of `direct_feature_attribution`: a network in which one head copies one token, and a latent that reads all heads."""

from typing import Any

import torch

from microtome.decompose.dictionary import SparseDictionary
from microtome.errors import MicrotomeError, ShapeError, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.planted_network import D_MODEL, HEADS, LENGTH, planted_network


def tiny(method: Method, seed: int) -> World:
    """The head looks at the planted position."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    planted = planted_network(seed, structured=structured)
    basis = _reads_all(f"blocks.{planted.block}.attn.z", planted.subject.fingerprint())
    return World({"subject": planted.subject, "inputs": planted.task.clean, "basis": basis, "latent": 0}, {"planted": planted})


def _reads_all(site: str, subject: str = "", width: int = D_MODEL) -> SparseDictionary:
    ones = torch.ones(width, 1)
    return SparseDictionary(site, W_enc=ones, b_enc=torch.zeros(1), W_dec=ones.T, b_dec=torch.zeros(width), subject=subject)


def truth(method: Method, result: Any, world: World) -> float:
    """Share of prompts in which the largest part is that of the planted head and token."""
    planted = world.truth["planted"]
    return float((result.parts.flatten(1).argmax(1) == planted.head * LENGTH + planted.position).double().mean())


def refusals(method: Method) -> list[Refusal]:
    """Latents, positions and bases that do not fit."""
    return [
        Refusal("a latent that is not there", {"latent": 1}, UsageError, r"0\.\.0"),
        Refusal("a position beyond the sample", {"position": LENGTH}, ShapeError, "shortest"),
        Refusal("positions of other samples", {"position": torch.zeros(3, dtype=torch.long)}, ShapeError, "each of 12"),
        Refusal("a basis of an MLP", {"basis": _reads_all("blocks.0.mlp.out")}, UsageError, "attn.z"),
        Refusal("a basis without all heads", {"basis": _reads_all("blocks.0.attn.z", width=8)}, MicrotomeError, f"{HEADS}|8"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A dictionary of another network."""
    other = _world(1, True).given["basis"]
    return [Refusal("a dictionary of another subject", {"basis": other}, SubjectMismatch, "refit")]
