"""Two planted heads in one network, one for each of two tasks."""

from dataclasses import dataclass, replace

import torch

from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.planted_network import (
    ANSWER,
    D_HEAD,
    D_MODEL,
    HEADS,
    KEY,
    KEYS,
    LENGTH,
    PLACE,
    _task,
    planted_network,
)


@dataclass(frozen=True)
class PlantedPair:
    """A subject and two tasks, each done by a head of its own (or both by one head).

    Attributes
    ----------
    subject : Subject
    task, other : Task
        Each asks for the token at a place of its own.
    block : int
    heads : list of str
        Short names of the two heads, e.g. ["a1.h0", "a1.h3"]; twice the same one for a shared head.
    """

    subject: Subject
    task: Task
    other: Task
    block: int
    heads: list[str]


def planted_pair(seed: int, *, structured: bool = True, shared: bool = False, n: int = 40) -> PlantedPair:
    """A network of `planted_network` with a second head for a second task.

    Parameters
    ----------
    seed : int
    structured : bool, default True
        Whether the heads are written into the weights.
    shared : bool, default False
        Whether one head does both tasks: it looks at both places, and only one of them holds a key.
    n : int, default 40
        Prompts of each task.

    Returns
    -------
    PlantedPair
    """
    one = planted_network(seed, structured=structured, n=n)
    place = (one.position + 1) % (LENGTH - 1)
    head = one.head if shared else (one.head + 1) % HEADS
    if structured:
        with torch.no_grad():
            _write_head(one.subject.module.transformer.h[one.block].attn, head, place, copies=not shared)
    names = [f"a{one.block}.h{h}" for h in (one.head, head)]
    second = replace(_task(seed + 1000, place, n), name="copy the other token")
    return PlantedPair(one.subject, one.task, second, one.block, names)


def _write_head(attention: torch.nn.Module, head: int, place: int, *, copies: bool) -> None:
    """Let a head look from the last position at `place` too, and copy the key there to the answer unless it does already."""
    first, eye = head * D_HEAD, torch.eye(KEYS)
    attention.c_attn.weight[PLACE + place, D_MODEL + first] += 1.5
    if copies:
        attention.c_attn.weight[PLACE + LENGTH - 1, first] += 1.5
        attention.c_attn.weight[KEY : KEY + KEYS, 2 * D_MODEL + first : 2 * D_MODEL + first + D_HEAD] += eye
        attention.c_proj.weight[first : first + D_HEAD, ANSWER : ANSWER + KEYS] += eye
