"""A network whose answer is one coordinate of its residual stream."""

from dataclasses import dataclass

from microtome.stimuli.task import Task
from microtome.subject.basis import Identity
from microtome.subject.subject import Subject
from microtome.testing.planted_network import D_MODEL, planted_network


@dataclass(frozen=True)
class PlantedSwitch:
    """A subject, its task, and the coordinate that decides each answer.

    Attributes
    ----------
    subject : Subject
    task : Task
        Clean and corrupt prompts hold different keys.
    basis : Identity
        The residual stream before the block of the planted head; coordinate k stands for key k.
    latents : list of int
        The coordinate of each clean prompt's key.
    position : int
        Where the head reads it.
    value : float
        More than the coordinate of the corrupt prompt's key.
    """

    subject: Subject
    task: Task
    basis: Identity
    latents: list[int]
    position: int
    value: float = 3.0


def planted_switch(seed: int, *, structured: bool = True, n: int = 24) -> PlantedSwitch:
    """The planted network as a case for switches; with ``structured=False`` freshly drawn weights."""
    net = planted_network(seed, structured=structured, n=n)
    basis = Identity(f"blocks.{net.block}.resid_pre", D_MODEL)
    return PlantedSwitch(net.subject, net.task, basis, [int(a) for a in net.task.answers], net.position)
