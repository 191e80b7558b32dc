"""Walks along paths: values, metric and gradients at the points of a path, in chunks, never holding all steps.

Every integral over a path is a walk and a reduction: integrated gradients sum weighted gradients, conductance sums products
of gradients and steps, nested paths are one long walk with the product of their weights.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.engine import shrink_on_oom
from microtome.subject.edit import Edit, patch, replace_with
from microtome.subject.gradients import gradients

#: Bytes of stacked site values per chunk; gradients take a small multiple of it.
CHUNK_BYTES = 64 * 2**20
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
    """Metric and gradients at each point, as many points stacked on the batch as `CHUNK_BYTES` holds.

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
    size = sum(v.numel() * v.element_size() for v in first.values())
    room = int(max(1, CHUNK_BYTES // max(1, size)))
    rest = chain([first], rest)
    names = [subject.site(s).name for s in of]

    def at(part: list[Point]) -> Chunk:
        k, n = len(part), len(bound.inputs)
        edits = [_set(s, torch.cat([p[s] for p in part]), None if where is None else where.get(s), k) for s in part[0]]
        output, grads, values = gradients(subject, bound.inputs.repeat(k), names, bound.metric.repeat(k), edits)
        shape = {s: (k, n, *values[s].shape[1:]) for s in names}
        slopes = {s: grads[s].view(*grads[s].shape[: grads[s].ndim - values[s].ndim], *shape[s]) for s in names}
        return Chunk(output.view(k, n, *output.shape[1:]), slopes, {s: values[s].view(shape[s]) for s in names})

    while part := list(islice(rest, room)):
        chunks, room = shrink_on_oom(at, part, room)
        yield from chunks


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
