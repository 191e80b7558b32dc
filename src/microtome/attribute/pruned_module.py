"""A chain of layers without some of its units: rows of the layer that makes them, columns of the one that reads them."""

import copy
from collections.abc import Iterable

import torch
from torch import nn

from microtome.errors import UsageError

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: What leaves zeros zero, so that a silenced unit says nothing behind it.
_QUIET = (
    nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.MaxPool1d,
    nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
)  # fmt: skip


def without(module: nn.Module, units: Iterable[tuple[str, int]]) -> nn.Module:
    """A copy of a chain (`nn.Sequential` of layers) that does not have the given units of module outputs.

    Raises
    ------
    UsageError
        For other modules, grouped convolutions, units that no layer makes or reads, or a layer behind them that turns their
        zeros into something.
    """
    if not isinstance(module, nn.Sequential) or any(len(list(part.children())) for part in module):
        raise UsageError(f"only a chain of layers (nn.Sequential) can be cut; {type(module).__name__} can be silenced: edits.")
    chain = copy.deepcopy(module)
    names = [name for name, _ in chain.named_children()]
    parts = list(chain)
    gone: dict[int, tuple[int, set[int]]] = {}
    for site, unit in units:
        if site not in names:
            raise UsageError(f"{site!r} is no layer of the chain; its layers: {', '.join(names)}.")
        at = names.index(site)
        maker = next((i for i in range(at, -1, -1) if isinstance(parts[i], (*_CONV, nn.Linear))), None)
        reader = next((i for i in range(at + 1, len(parts)) if isinstance(parts[i], (*_CONV, nn.Linear))), None)
        if maker is None or reader is None:
            raise UsageError(f"the units of {site} are not between two layers with weights.")
        loud = [names[i] for i in range(at + 1, reader) if not isinstance(parts[i], _QUIET)]
        if loud:
            kind = type(parts[names.index(loud[0])]).__name__
            raise UsageError(f"behind {site}, {loud[0]} ({kind}) may turn zeros into something: name its output as the site.")
        gone.setdefault(maker, (reader, set()))[1].add(unit)
    for maker, (reader, lost) in gone.items():
        _cut(parts, maker, reader, lost)
    return chain


def _cut(parts: list[nn.Module], maker: int, reader: int, lost: set[int]) -> None:
    made, reads = parts[maker], parts[reader]
    size = int(made.weight.shape[0])  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    kept = torch.tensor([u for u in range(size) if u not in lost], dtype=torch.long)
    if not len(kept):
        raise UsageError("no unit of a layer would be left.")
    if any(isinstance(p, _CONV) and p.groups != 1 for p in (made, reads)):
        raise UsageError("grouped convolutions cannot be cut; silence their units with edits.")
    for part in parts[maker + 1 : reader]:
        if isinstance(part, _NORM):
            for name in ("weight", "bias", "running_mean", "running_var"):
                _keep(part, name, kept, 0)
            part.num_features = len(kept)
    for name in ("weight", "bias"):
        _keep(made, name, kept, 0)
    width = int(reads.weight.shape[1])  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    each = width // size  # places that were flattened behind each unit
    columns = (kept[:, None] * each + torch.arange(each)).flatten()
    _keep(reads, "weight", columns, 1)
    for part, name, value in ((made, "out", len(kept)), (reads, "in", len(columns))):
        setattr(part, f"{name}_{'features' if isinstance(part, nn.Linear) else 'channels'}", value)


def _keep(part: nn.Module, name: str, rows: torch.Tensor, axis: int) -> None:
    value = getattr(part, name)
    if value is None:
        return
    new = value.detach().index_select(axis, rows.to(value.device)).clone()
    if isinstance(value, nn.Parameter):
        setattr(part, name, nn.Parameter(new, requires_grad=value.requires_grad))
    else:
        part.register_buffer(name, new)
