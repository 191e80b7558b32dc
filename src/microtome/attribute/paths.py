"""Integrals of gradients along paths between a baseline and a point, in chunks, never holding all steps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.subject.edit import patch
from microtome.subject.gradients import gradients

#: Bytes of stacked site values per chunk; gradients take a small multiple of it.
CHUNK_BYTES = 64 * 2**20


def gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1]; exact for polynomials of degree 2 steps - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def path_gradients(
    subject: Any, bound: Any, site: str, points: Iterator[tuple[Tensor, float]], count: int
) -> tuple[Tensor, int]:
    """Weighted sum over points of d metric / d site [n, ...], and the number of evaluations per example.

    Parameters
    ----------
    subject : Subject
    bound : BoundTask
    site : str
    points : iterator of (value [n, ...], weight)
        `count` of them.
    """
    total: Tensor | None = None
    stack: list[tuple[Tensor, float]] = []
    room = 1
    for k, (point, weight) in enumerate(points):
        if total is None and not stack:
            room = int(max(1, CHUNK_BYTES // max(1, point.numel() * point.element_size())))
        stack.append((point, weight))
        if len(stack) == room or k == count - 1:
            times = len(stack)
            value = torch.cat([p for p, _ in stack])
            _, grads, _ = gradients(
                subject, bound.inputs.repeat(times), [site], bound.metric.repeat(times), [patch(site, value)]
            )
            grad = grads[subject.site(site).name].view(times, *point.shape)
            weights = torch.tensor([w for _, w in stack], dtype=grad.dtype, device=grad.device)
            part = torch.einsum("k,k...->...", weights, grad)
            total = part if total is None else total + part
            stack = []
    assert total is not None
    return total, count
