"""What the families of methods on a subject share: the planted network as a world, and its refusals."""

import inspect
from typing import Any

import numpy as np

from microtome.errors import MicrotomeError, UsageError
from microtome.method import Method
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World
from microtome.testing.planted_network import LENGTH, PlantedNetwork, planted_network

#: Heads are the nodes that are planted; attributions are taken position by position, from the mean over prompts: a
#: baseline that, unlike the corrupt prompt, differs from the prompt at every position.
SETTINGS = {"nodes": "head", "baseline": "mean", "size": 1}


def network_world(seed: int, *, structured: bool = True) -> World:
    """The planted network under every name by which methods take it."""
    planted = planted_network(seed, structured=structured)
    return World(_given(planted.subject, planted.task), {"planted": planted}, SETTINGS)


def first_examples(world: World, n: int) -> World:
    """The same world with the first `n` prompts only (and no baseline that depends on which prompts there are)."""
    settings = {name: value for name, value in world.settings.items() if name != "baseline"}
    return World(_given(world.given["subject"], world.given["task"][:n]), world.truth, settings)


def _given(subject: Subject, task: Task) -> dict[str, Any]:
    bound = subject.bind(task)
    return {
        "subject": subject, "task": task, "inputs": bound.inputs, "tokens": bound.inputs,
        "clean": bound.inputs, "corrupt": bound.corrupt, "data": bound.inputs, "stimuli": bound.inputs,
        "targets": bound.answers, "target": bound.answers,
    }  # fmt: skip


def causal_rows(table, planted: PlantedNetwork):
    """Rows of a table that stand on the planted path, read off its columns block, head, position and site.

    The key travels in the residual stream of its own position up to the block of the head, then in that of the last
    position. Within a block, only sites of the stream before the attention (embed, resid_pre) still hold it there.
    """
    rows = np.ones(len(table), dtype=bool)
    table = table.dropna(axis="columns")
    blocks = next((table[c].to_numpy(dtype=int) for c in ("block", "layer") if c in table.columns), None)
    if blocks is None and "site" in table.columns:
        blocks = table["site"].astype(str).str.extract(r"blocks\.(\d+)")[0].fillna(-1).astype(int).to_numpy()
    if "head" in table.columns:
        rows &= table["head"].to_numpy(dtype=int) == planted.head
        return rows & (blocks == planted.block) if blocks is not None else rows
    if "position" in table.columns:
        before = np.ones(len(table), dtype=bool) if blocks is None else blocks <= planted.block
        if blocks is not None and "site" in table.columns:
            late = ~table["site"].astype(str).str.contains("resid_pre|embed").to_numpy()
            before &= ~(late & (blocks == planted.block))
        wanted = np.where(before, planted.position, LENGTH - 1)
        position = table["position"].to_numpy(dtype=int)
        return rows & (np.where(position < 0, position + LENGTH, position) == wanted)
    return rows & (blocks == planted.block) if blocks is not None else rows


def network_refusals(method: Method) -> list[Refusal]:
    """A site that is not there, and a seed that is none."""
    rows = []
    parameters = inspect.signature(method.function).parameters if method.function else {}
    for name in ("at", "site", "of"):
        if name in parameters:
            rows.append(Refusal(f"a misspelt site in {name}", {name: "blocks.0.resid_pst"}, MicrotomeError, "blocks"))
    if method.stochastic:
        rows.append(Refusal("a negative seed", {"seed": -1}, UsageError, "seed"))
    return rows
