"""Plant what a method should find: known neurons, directions and trigger circuits, in a copy of any model.

The weight edits are pure functions on modules; `plant` joins them to a subject and data. Nothing is changed in place.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from microtome.errors import Degenerate, ShapeError, SiteError, TokenizerError, UsageError

if TYPE_CHECKING:
    from microtome.stimuli.stimuli import Stimuli
    from microtome.subject.subject import Subject


@dataclass(frozen=True)
class Place:
    """Where the hidden units of one MLP get and leave their values."""

    reads: tuple[tuple[str, int], ...]
    """(module path, first row) of the linear maps into the hidden layer: the gated one first, then the other factor."""
    writes: str
    """Module path of the linear map out of the hidden layer."""


@dataclass(frozen=True)
class Plant:
    """The answer that a method is scored against."""

    site: str
    """Site of the planted unit, e.g. ``blocks.1.mlp.hidden``."""
    unit: int
    """Index on that site."""
    property: str
    """What it fires for."""
    reader: Tensor
    """[d_in]: the direction that it reads, at the MLP's input."""
    writer: Tensor | None
    """[d_model]: what it adds to the stream per unit of activation; None where the old column was kept."""
    auroc: float
    """How well the planted unit itself tells the property on the data it was fitted to: the ceiling for any search."""


def plant(
    subject: "Subject",
    stimuli: "Stimuli",
    property: str,  # noqa: A002 - the word of Stimuli.properties
    *,
    block: int = 0,
    unit: int = 0,
    writes: "str | Tensor | None" = None,
    strength: float = 4.0,
    ridge: float = 1e-2,
) -> "tuple[Subject, Plant]":
    """Make one hidden unit of a copy of the subject detect a property, and optionally write a known direction.

    The reader is the ridge regression of +1 / -1 on the input of the MLP of `block`, scaled so that the unit's gate has
    mean `strength` on rows with the property. With `writes` a token, the unit pushes that token's logit: a planted
    circuit from the property to the token.

    Parameters
    ----------
    subject : any subject whose table has ``mlp.pre`` and ``mlp.hidden``.
    stimuli : data with token-level truth (spans) of `property`.
    property : one of ``stimuli.properties``.
    block, unit : the MLP and the index of the unit that is overwritten.
    writes : token, direction [d_model], or None to keep what the old unit wrote.
    strength : mean gate value on positive rows.
    ridge : penalty relative to the mean squared norm of the rows.

    Returns
    -------
    (planted subject, Plant). The subject given is untouched.

    Raises
    ------
    Degenerate
        The property holds everywhere or nowhere.
    SiteError
        The architecture has no MLP sites.
    UsageError
        No such unit, or `writes` is not a single token.

    Notes
    -----
    Null: the same search on the subject before planting.
    Misleads when the property cannot be read at that block: see ``Plant.auroc``, and plant later in the network.
    """
    from microtome.evidence import auroc

    hidden, place = f"blocks.{block}.mlp.hidden", find_place(subject, block)
    data = subject.record(stimuli, [f"{place.reads[0][0]}:input"])
    rows, truth = data.matrix().float(), torch.as_tensor(data.labels(property)).bool()
    reader, offset = detector(rows, truth, biased=_linear(subject.module, place.reads[0][0]).bias is not None, ridge=ridge)
    factor = strength / float((rows[truth] @ reader + offset).mean())
    reader, offset = reader * factor, offset * factor
    writer = _writer(subject, writes)
    module = plant_neuron(subject.module, place, unit, reader, offset=offset, writer=writer)
    planted = type(subject)(module, subject.tokenizer, f"{subject.name} (planted)", subject.transform)
    scores = planted.record(stimuli, [hidden]).matrix()[:, unit : unit + 1].float()
    ceiling = float(auroc(scores.numpy(), truth.numpy())[0])
    return planted, Plant(hidden, unit, property, reader, writer, ceiling)


def plant_neuron(
    module: nn.Module, place: Place, unit: int, reader: Tensor, *, offset: float = 0.0, writer: Tensor | None = None
) -> nn.Module:
    """A copy of the module in which one hidden unit reads `reader` and writes `writer`.

    pre[unit] = reader . x + offset; every further factor (the "up" projection of a gated MLP) becomes
    reader . x / |reader|; out += writer * hidden[unit].

    Parameters
    ----------
    module : any module.
    place : the maps around the hidden layer.
    unit : index of the hidden unit.
    reader : [d_in].
    offset : bias of the unit; needs a first map with bias when not 0.
    writer : [d_out]; None keeps the old column.

    Raises
    ------
    UsageError
        No such unit, or an offset where the map has no bias.
    ShapeError
        A direction of the wrong size.
    """
    twin = copy.deepcopy(module)
    for i, (path, first) in enumerate(place.reads):
        linear = _linear(twin, path)
        rows = _matrix(linear)
        if not 0 <= unit < len(rows) - first:
            raise UsageError(f"{path} has {len(rows) - first} units from row {first} on; there is no unit {unit}.")
        _sized(reader, rows.shape[1], path)
        if i == 0 and offset and linear.bias is None:
            raise UsageError(f"{path} has no bias, so the unit cannot have the offset {offset:.3g}.")
        with torch.no_grad():
            rows[first + unit] = reader if i == 0 else reader / reader.norm()
            if linear.bias is not None:
                linear.bias[first + unit] = offset if i == 0 else 0.0
    if writer is not None:
        columns = _matrix(_linear(twin, place.writes))
        _sized(writer, len(columns), place.writes)
        with torch.no_grad():
            columns[:, unit] = writer
    return twin


def plant_direction(module: nn.Module, embedding: str, tokens: list[int], direction: Tensor, *, strength: float) -> nn.Module:
    """A copy of the module in which the embeddings of `tokens` hold `strength * direction`, and no others do.

    Each row of the table loses its part along the unit direction; the rows of `tokens` then get `strength` of it. With
    tied embeddings the unembedding changes too.

    Parameters
    ----------
    module : any module.
    embedding : path of the nn.Embedding.
    tokens : ids that have the concept.
    direction : [d], any length.
    strength : in the units of the embeddings.

    Raises
    ------
    UsageError, ShapeError
        No such embedding or token; a direction of the wrong size or zero.
    """
    twin = copy.deepcopy(module)
    table = _linear(twin, embedding).weight
    _sized(direction, table.shape[1], embedding)
    if not tokens or min(tokens) < 0 or max(tokens) >= len(table) or not bool(direction.norm() > 0):
        raise UsageError(f"plant_direction needs token ids in 0..{len(table) - 1} and a non-zero direction.")
    unit = (direction / direction.norm()).to(table)
    with torch.no_grad():
        table -= (table @ unit)[:, None] * unit
        table[tokens] += strength * unit
    return twin


def detector(rows: Tensor, truth: Tensor, *, biased: bool, ridge: float = 1e-2) -> tuple[Tensor, float]:
    """Ridge regression of +1 / -1 on rows [n, d], classes weighted equally: (direction [d], offset, 0 unless `biased`)."""
    if not bool(truth.any()) or bool(truth.all()):
        raise Degenerate(f"the property holds in {int(truth.sum())} of {len(truth)} rows: nothing to tell apart.")
    weight = torch.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum()).double()
    x, y = rows.double(), torch.where(truth, 1.0, -1.0).double()
    centre = (weight @ x) if biased else torch.zeros(x.shape[1], dtype=x.dtype)
    x = x - centre
    gram = (x * weight[:, None]).T @ x
    gram += ridge * gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
    direction = torch.linalg.solve(gram, x.T @ (weight * y))
    return direction.float(), float(-(centre @ direction))


def find_place(subject: "Subject", block: int) -> Place:
    """The maps around the MLP of `block`, from the subject's sites."""
    pre, hidden = (subject.site(f"blocks.{block}.mlp.{part}") for part in ("pre", "hidden"))
    reads = [(pre.module, pre.view.start)]
    ups = subject.sites(f"blocks.{block}.mlp.up")
    reads += [(site.module, site.view.start) for site in ups]
    if hidden.at != "input":
        raise SiteError(f"the hidden layer of block {block} is not the input of a linear map in this architecture.")
    return Place(tuple(reads), hidden.module)


def _writer(subject: "Subject", writes: "str | Tensor | None") -> Tensor | None:
    if not isinstance(writes, str):
        return writes
    if subject.tokenizer is None:
        raise TokenizerError(f"{subject.name} has no tokenizer to read {writes!r} with; give a direction instead.")
    ids = subject.tokenizer(writes, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise UsageError(f"{writes!r} is {len(ids)} tokens in this subject; give a single token or a direction.")
    row = subject.module.get_submodule(subject.site("logits").module).weight[ids[0]].detach()
    return row / row.norm()


def _linear(module: nn.Module, path: str) -> Any:
    try:
        found = module.get_submodule(path)
    except AttributeError:
        raise SiteError(f"the module has no submodule {path!r}.") from None
    if getattr(found, "weight", None) is None or found.weight.ndim != 2:
        raise SiteError(f"{path!r} is a {type(found).__name__}, not a linear map.")
    return found


def _matrix(linear: Any) -> Tensor:
    """The weight as [out, in], a view (GPT-2's Conv1D stores the transpose)."""
    return linear.weight.T if type(linear).__name__ == "Conv1D" else linear.weight


def _sized(vector: Tensor, size: int, path: str) -> None:
    if tuple(vector.shape) != (size,):
        raise ShapeError(f"{path} needs a direction of {size} numbers, got shape {tuple(vector.shape)}.")
