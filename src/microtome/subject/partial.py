"""The projections of a block at the positions that an edit changed only.

Queries, keys and values are projected position by position. Where an edit enters at a block, its input differs from the
unedited run at the edited positions alone (nowhere, where the edit lies behind the projections), so only those are projected
anew and the rest is taken from the unedited run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from microtome.subject.architecture import Trunk
from microtome.subject.edit import Edit
from microtome.subject.frame import Frame
from microtome.subject.hooks import first_input, with_input
from microtome.subject.site import Site

if TYPE_CHECKING:
    from microtome.subject.subject import Subject

#: Sites of a block that lie behind its projections: an edit there leaves them as they were.
BEHIND = (
    "attn.pattern", "attn.z", "attn.out", "resid_mid",
    "mlp.norm", "mlp.pre", "mlp.up", "mlp.hidden", "mlp.out", "resid_post",
)  # fmt: skip
INPUT = Site("projection", "projection", "input")
#: With a larger share of changed positions the whole is projected.
MOST = 0.9


def by_position(module: nn.Module) -> bool:
    """Whether a module is a linear map of each position by itself."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _module(subject: "Subject", trunk: Trunk, block: int, part: str, at: str) -> nn.Module | None:
    label = f"{trunk.stack.name}." if trunk.stack.name else ""
    site = trunk.sites.get(f"{label}blocks.{block}.{part}")
    if site is None or site.at != at or not site.module.startswith(f"{trunk.blocks}.{block}."):
        return None
    module = subject.module.get_submodule(site.module)
    return module if by_position(module) else None


def projections(subject: "Subject", trunk: Trunk, block: int) -> list[nn.Module]:
    """The linear maps that give a block's queries, keys and values; empty where one of them is something else."""
    found = [_module(subject, trunk, block, part, "output") for part in ("attn.q", "attn.k", "attn.v")]
    return [] if None in found else list(dict.fromkeys(m for m in found if m is not None))


def last_projection(subject: "Subject", trunk: Trunk) -> nn.Module | None:
    """The linear map behind the last block's attention, None where it is something else."""
    return _module(subject, trunk, trunk.dims.blocks - 1, "attn.z", "input")


def changed(edits: Sequence[Sequence[Edit] | None], frame: Frame, names: Mapping[str, str]) -> Tensor | None:
    """Where the input of the projections may differ from the unedited run.

    Parameters
    ----------
    edits : sequence
        Per stacked copy of the batch: its edits in this block; None = it was edited in an earlier block.
    frame : Frame
        Of the window that is run.
    names : mapping
        Site name -> its name within the block.

    Returns
    -------
    Tensor[copies * rows, width] of bool, or None
        None where an edit lies elsewhere, or where little would be gained.
    """
    rows = len(frame.start)
    mask = torch.zeros(len(edits), rows, frame.length, dtype=torch.bool)
    for copy, own in zip(mask, edits):
        if own is None:
            copy[:] = True
        for edit in own or ():
            where = names[edit.site]
            if where in BEHIND:
                continue
            columns = frame.resolve(edit.position) if where == "resid_pre" else None
            if columns is None:
                return None
            copy.scatter_(1, columns - frame.offset, True)
    return mask.flatten(0, 1) if float(mask.float().mean()) < MOST else None


@contextmanager
def filled(modules: Sequence[nn.Module], before: Sequence[Tensor], where: Tensor | None) -> Iterator[None]:
    """Within the context the modules work at the positions `where` and give what they gave `before` elsewhere.

    Parameters
    ----------
    before : sequence of Tensor[rows, width, units]
        Outputs of the unedited run, per module.
    where : Tensor[copies * rows, width] of bool, or None
        None: nothing is changed.
    """
    if where is None or not before or any(m._forward_hooks or m._forward_pre_hooks for m in modules):
        yield
        return
    index = where.flatten().nonzero()[:, 0].to(before[0].device)
    with ExitStack() as stack:
        for module, known in zip(modules, before):
            for handle in _hooks(module, known, index, where.shape):
                stack.callback(handle.remove)
        yield


@contextmanager
def silenced(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within the context the (linear) modules compute nothing and give zeros: for outputs that are replaced as a whole."""
    shapes: dict[nn.Module, torch.Size] = {}

    def pick(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        key, x = first_input(args, kwargs, INPUT)
        shapes[module] = x.shape[:-1]
        return with_input(args, kwargs, key, x.flatten(0, -2)[:0])

    def fill(module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
        return output.new_zeros(1).expand(*shapes[module], output.shape[-1])

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(pick, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(fill).remove)
        yield


def _hooks(module: nn.Module, known: Tensor, index: Tensor, shape: torch.Size) -> list:
    def pick(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        key, x = first_input(args, kwargs, INPUT)
        return with_input(args, kwargs, key, x.flatten(0, 1)[index])

    def fill(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
        full = known.repeat(shape[0] // known.shape[0], 1, 1)
        full.view(-1, full.shape[-1])[index] = output
        return full

    return [module.register_forward_pre_hook(pick, with_kwargs=True), module.register_forward_hook(fill)]
