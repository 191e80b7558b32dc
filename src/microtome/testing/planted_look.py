"""A network whose one head looks at whatever token is a key, wherever it stands."""

from dataclasses import replace

import torch

from microtome.rng import torch_rng
from microtome.testing.planted_network import D_HEAD, D_MODEL, KEY, KEYS, PLACE, PlantedNetwork, planted_network


def planted_look(seed: int, *, structured: bool = True, n: int = 40) -> PlantedNetwork:
    """The planted network with its head looking at keys; the corrupt prompts hold another key twice that draws it away.

    Parameters
    ----------
    seed : int
    structured : bool, default True
    n : int, default 40
        Number of prompts.

    Returns
    -------
    PlantedNetwork
        Its task: clean prompts hold one key, corrupt ones the same and another key twice.
    """
    net = planted_network(seed, structured=structured, n=n)
    if structured:
        attention, first = net.subject.module.transformer.h[net.block].attn, net.head * D_HEAD
        with torch.no_grad():
            attention.c_attn.weight[PLACE + net.position, D_MODEL + first] -= 1.5
            attention.c_attn.weight[KEY : KEY + KEYS, D_MODEL + first] += 1.5
    place = (net.position + 1) % 4
    corrupt = torch.as_tensor(net.task.clean).clone()
    answers = torch.as_tensor(net.task.answers)
    distraction = torch.randint(1, KEYS, (n,), generator=torch_rng(seed, "planted look"))
    corrupt[:, place] = corrupt[:, (place + 1) % 4] = (answers + distraction) % KEYS
    return replace(net, task=replace(net.task, corrupt=corrupt))
