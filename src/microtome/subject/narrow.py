"""The last MLP of a replay, at the positions that the metric reads only.

An MLP works on each position by itself and its output is added to the residual stream. After the last attention only the
metric's positions are read, so the last MLP is given those alone; its output [n, 1, d] is added to the stream at every
position, which is right where it is read. A block that does not work like this fails the sweep's check.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from microtome.subject.architecture import Trunk
from microtome.subject.hooks import first_input, with_input
from microtome.subject.site import Site

if TYPE_CHECKING:
    from microtome.subject.subject import Subject


def last_mlp(subject: "Subject", trunk: Trunk) -> nn.Module | None:
    """The module that holds the last block's MLP and nothing else; None where there is no such module."""
    return mlp_of(subject, trunk, trunk.dims.blocks - 1)


def mlp_of(subject: "Subject", trunk: Trunk, block: int) -> nn.Module | None:
    """The module that holds a block's MLP and nothing else; None where there is no such module."""
    label = f"{trunk.stack.name}." if trunk.stack.name else ""
    ends = [trunk.sites.get(f"{label}blocks.{block}.mlp.{part}") for part in ("pre", "hidden")]
    parents = {site.module.rpartition(".")[0] for site in ends if site is not None and not site.view.flat}
    path = parents.pop() if len(parents) == 1 and None not in ends else ""
    return subject.module.get_submodule(path) if path.startswith(f"{trunk.blocks}.{block}.") else None


@contextmanager
def narrowed(mlp: nn.Module | None, columns: Tensor) -> Iterator[None]:
    """Within the context the MLP sees position `columns` [n] of each row and no other; nothing changes where it is hooked."""
    if mlp is None or any(m._forward_hooks or m._forward_pre_hooks for m in mlp.modules()):
        yield
        return
    site = Site("mlp", "mlp", "input")

    def pick(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        key, x = first_input(args, kwargs, site)
        if x.ndim != 3 or x.shape[0] != len(columns):
            return None
        return with_input(args, kwargs, key, x[torch.arange(len(x), device=x.device), columns][:, None])

    handle = mlp.register_forward_pre_hook(pick, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
