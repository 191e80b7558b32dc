"""Worlds of `attention_signature`: one head looks from the last position at one other; without structure at no marked one."""

from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Method
from microtome.rng import rng
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import causal_rows, network_refusals
from microtome.testing.families.tables import ranked
from microtome.testing.planted_network import LENGTH, planted_network


def tiny(method: Method, seed: int) -> World:
    """The planted network and the cell where its head looks."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return _world(seed, False)


def _world(seed: int, structured: bool) -> World:
    net = planted_network(seed, structured=structured)
    n = len(net.task)
    # Without structure the marked key stands anywhere: a head that looks at one place would be found at a fixed one.
    where = torch.full((n,), net.position) if structured else torch.from_numpy(rng(seed, "cells").integers(0, LENGTH - 1, n))
    cells = torch.zeros(n, LENGTH, LENGTH, dtype=torch.bool)
    cells[torch.arange(n), LENGTH - 1, where] = True
    return World({"subject": net.subject, "tokens": net.task.clean, "cells": cells}, {"planted": net})


def truth(method: Method, result: Any, world: World) -> float:
    """AUROC of the excess attention for the planted head, less where even that puts little there."""
    found = ranked(result.table, np.asarray(causal_rows(result.table, world.truth["planted"])))
    return found * min(1.0, 2 * result.estimate.value)


def refusals(method: Method) -> list[Refusal]:
    """Cells that do not fit, mark nothing, or everything."""
    none = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    return [
        *network_refusals(method),
        Refusal("cells of another length", {"cells": none[:-1]}, ShapeError, "cells"),
        Refusal("no cell", {"cells": none}, Degenerate, "marked"),
        Refusal("all cells", {"cells": ~none}, Degenerate, "nothing else"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
    ]
