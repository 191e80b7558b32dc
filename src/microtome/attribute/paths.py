"""Walks along paths: values, metric and gradients at the points of a path, in chunks, never holding all steps.

Every integral over a path is a walk and a reduction: integrated gradients sum weighted gradients, conductance sums products
of gradients and steps, nested paths are one long walk with the product of their weights.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.attribute.suffix import LEAST, Suffix, suffix_of
from microtome.engine import shrink_on_oom
from microtome.subject.edit import Edit, patch, replace_with
from microtome.subject.gradients import gradients

#: Bytes that a chunk of points may keep for its backward, whatever the number of steps (one point is always run).
CHUNK_BYTES = 128 * 2**20
#: One point of a path: the value [n, ...] that each site takes there.
Point = Mapping[str, Tensor]


def gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1]; exact for polynomials of degree 2 steps - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


@dataclass(frozen=True)
class Chunk:
    """Some consecutive points of a walk.

    Attributes
    ----------
    output : Tensor[k, n]
        The metric at each point.
    grads, values : dict of site to Tensor[k, n, ...]
        d metric / d site, and the site itself. A metric with several columns has them as a first axis of `grads`.
    """

    output: Tensor
    grads: dict[str, Tensor]
    values: dict[str, Tensor]


def walk(
    subject: Any,
    bound: Any,
    points: Iterable[Point],
    of: Sequence[str],
    *,
    where: Mapping[str, Tensor] | None = None,
) -> Iterator[Chunk]:
    """Metric and gradients at each point, as many points stacked on the batch as `CHUNK_BYTES` allows.

    The first point runs alone (where it is small, with the second) and tells what a point keeps for its backward. Where one
    site is set as a whole, later points run only what follows it (see `suffix`).

    Parameters
    ----------
    subject : Subject
    bound : BoundTask
    points : iterable of dict of site to Tensor[n, ...]
        What the sites are set to; made as they are needed.
    of : sequence of str
        Sites whose gradients (and values) are wanted; they may lie above, at or beside those that are set.
    where : dict of site to BoolTensor[n, ...], optional
        Cells of a site that are set; the others keep what the forward gives them. Default: all.
    """
    rest = iter(points)
    first = next(rest, None)
    if first is None:
        return
    names = [subject.site(s).name for s in of]
    suffix: Suffix | None = None

    def at(part: list[Point]) -> Chunk:
        k, n = len(part), len(bound.inputs)
        edits = [_set(s, torch.cat([p[s] for p in part]), None if where is None else where.get(s), k) for s in part[0]]

        def call() -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
            return gradients(subject, bound.inputs.repeat(k), names, bound.metric.repeat(k), edits)

        output, grads, values = call() if suffix is None else suffix.after(k, call)
        shape = {s: (k, n, *values[s].shape[1:]) for s in names}
        slopes = {s: grads[s].view(*grads[s].shape[: grads[s].ndim - values[s].ndim], *shape[s]) for s in names}
        return Chunk(output.view(k, n, *output.shape[1:]), slopes, {s: values[s].view(shape[s]) for s in names})

    given = sum(v.numel() * v.element_size() for v in first.values())
    begun = [first, *islice(rest, int(256 * given <= CHUNK_BYTES))]
    with _kept(subject.module) as kept:
        chunks, least = shrink_on_oom(at, begun, len(begun))
    yield from chunks
    room = max(1, least * CHUNK_BYTES // max(1, least * given, sum(kept.values())))
    part = list(islice(rest, room if where is not None or len(first) > 1 else max(room, LEAST)))
    if where is None and len(first) == 1 and len(part) >= LEAST:
        suffix = suffix_of(subject, bound, next(iter(first)), names)
    while part:
        chunks, room = shrink_on_oom(at, part, room)
        yield from chunks
        part = list(islice(rest, room))


@contextmanager
def _kept(module: torch.nn.Module) -> Iterator[dict[int, int]]:
    """Storage -> its bytes, of what forwards within the context keep for the backward; weights do not count."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        yield kept


def path_sums(
    subject: Any, bound: Any, points: Iterable[tuple[Point, float | Tensor]], of: Sequence[str]
) -> tuple[dict[str, Tensor], int]:
    """``sum_k w_k * d metric / d site (point_k)`` [n, ...] for each site, and the number of points.

    Weights are numbers, or tensors like the sites (a step of the path).
    """
    weights: list[float | Tensor] = []

    def remembered() -> Iterator[Point]:
        for point, weight in points:
            weights.append(weight)
            yield point

    total: dict[str, Tensor] = {}
    count = 0
    for chunk in walk(subject, bound, remembered(), of):
        k = len(chunk.output)
        mine, weights[:k] = weights[:k], []
        for site, grad in chunk.grads.items():
            if all(isinstance(w, float) for w in mine):
                part = torch.einsum("k,k...->...", torch.tensor(mine, dtype=grad.dtype, device=grad.device), grad)
            else:
                part = sum((w * g for w, g in zip(mine, grad)), torch.zeros_like(grad[0]))
            total[site] = part if site not in total else total[site] + part
        count += k
    return total, count


def line(start: Tensor, end: Tensor, steps: int) -> Iterator[tuple[Tensor, float]]:
    """Gauss-Legendre points of the straight line, with their weights."""
    for node, weight in zip(*gauss_legendre(steps)):
        yield start + float(node) * (end - start), float(weight)


def _set(site: str, value: Tensor, where: Tensor | None, times: int) -> Edit:
    if where is None:
        return patch(site, value)
    chosen = where.repeat(times, *[1] * (where.ndim - 1))
    return replace_with(site, lambda old: torch.where(chosen.expand_as(old), value.to(old), old))
