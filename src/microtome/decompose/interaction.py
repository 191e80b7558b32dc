"""Coordinates of interaction: directions ranked by how much they matter downstream. One engine for LIB and the Interaction
Basis, which differ only in what "downstream" is (the next layer's coordinates, or the output).

    G = E[(f - m)(f - m)^T] = U D U^T,   M = E[J^T J] with J = d(downstream) / d f,
    D^(1/2) U^T M U D^(1/2) = V Lambda V^T,   z = (f - m) U D^(-1/2) V Lambda^(1/2).

The mean is carried by the basis' offset, which stands for the constant unit that the papers fold biases into.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from microtome.errors import Degenerate, NonFinite, SiteError, UsageError
from microtome.rng import torch_rng
from microtome.subject.basis import Basis, Linear
from microtome.subject.hooks import Tap, attached
from microtome.subject.run import logits_of

#: Samples per forward and backward.
BATCH = 256


def flow(
    subject: Any, inputs: Any, at: str, onto: str | None, scale: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Values at a site and what comes of them downstream, joined by the graph of autograd.

    Parameters
    ----------
    subject, inputs
        As `Subject.run` takes them.
    at : str
        Site to differentiate by.
    onto : str, optional
        Site downstream; None means the output.
    scale : callable, optional
        Changes the value at `at` before the network goes on (for integrals along a path).

    Returns
    -------
    (f [n, ..., d], y [n, ..., e])
    """
    seen: dict[str, Tensor] = {}
    start = subject.site(at)

    def watch(value: Tensor) -> Tensor:
        leaf = value.detach() if scale is None else scale(value.detach())
        seen["f"] = leaf.clone().requires_grad_(True)
        return seen["f"].clone()  # the module may go on in place

    def keep(value: Tensor) -> None:
        seen["y"] = value.clone()

    taps = [Tap(start, keep=watch)]
    if onto is not None:
        if subject.site(onto).name == start.name:
            raise UsageError(f"'{onto}' is the same site as '{at}'; name one downstream of it.")
        taps.append(Tap(subject.site(onto), keep=keep))
    given = [p for p in subject.module.parameters() if p.requires_grad]
    try:
        for parameter in given:
            parameter.requires_grad_(False)
        with torch.enable_grad(), attached(subject.module, taps, inputs.frame_of):
            output = subject.call(inputs)
    finally:
        for parameter in given:
            parameter.requires_grad_(True)
    if onto is None:
        seen["y"] = logits_of(output)
    missing = [name for name, key in ((at, "f"), (onto, "y")) if key not in seen]
    if missing:
        raise SiteError(f"{missing[0]} never fired during the run.")
    if not seen["y"].requires_grad:
        raise UsageError(f"'{onto}' does not depend on '{at}': it must lie downstream.")
    return seen["f"], seen["y"]


def moments(
    subject: Any, inputs: Any, at: str, onto: str | Basis | None, *, probes: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean m [d], covariance G [d, d] and gradient moment M [d, d] at a site, in float64.

    Parameters
    ----------
    onto : str, Basis or None
        What is differentiated: a site, coordinates at a site, or the output.
    probes : int, optional
        Random signs instead of every output: ``M ~ mean_r grad(phi_r . y) grad(phi_r . y)^T``, unbiased, at `probes`
        backward passes instead of one per output.
    """
    given = subject.inputs(inputs)
    if getattr(given, "mask", None) is not None:
        raise UsageError("the inputs are padded; give sequences of one length, so that padding counts nowhere.")
    if probes is not None and (isinstance(probes, bool) or not isinstance(probes, int) or probes < 1):
        raise UsageError(f"probes must be a whole number above 0 or None, got {probes!r}.")
    site = onto if onto is None or isinstance(onto, str) else onto.site
    draw = torch_rng(seed, "interaction", "probes")
    rows = 0
    total = second = gradient = torch.zeros(0, dtype=torch.float64)
    for i in range(0, len(given), BATCH):
        f, y = flow(subject, given[i : i + BATCH], at, site)
        y = y if onto is None or isinstance(onto, str) else onto.encode(y)
        x = f.detach().flatten(0, -2).double()
        _finite(x, at)
        _finite(y, "the output" if site is None else site)
        if rows == 0:
            # Moments about the first row: no cancellation when the mean is far from 0.
            shift, total, second, gradient = x[0], *(x.new_zeros(s) for s in (x.shape[1], (x.shape[1],) * 2, (x.shape[1],) * 2))
        x = x - shift
        total, second, rows = total + x.sum(0), second + x.T @ x, rows + len(x)
        for g in _pulled(f, y.flatten(1), probes, draw):
            g = g.flatten(0, -2).double()
            gradient = gradient + g.T @ g
    if rows < 2:
        raise Degenerate(f"{rows} rows at '{at}'; at least 2 are needed. Give more inputs.")
    mean = total / rows
    return shift + mean, second / rows - torch.outer(mean, mean), gradient / rows / (probes or 1)


def coordinates(
    site: str, mean: Tensor, covariance: Tensor, gradient: Tensor, *, cutoff: float, name: str, subject: str = ""
) -> Linear:
    """The basis of the three moments: whiten, diagonalise the gradient moment there, scale by its roots.

    Eigenvalues below `cutoff` times the largest are dropped, first of the covariance, then of the whitened gradient moment.
    """
    if not 0 <= cutoff < 1:
        raise UsageError(f"cutoff must lie in [0, 1), got {cutoff!r}.")
    spread, u = _eigen(covariance, cutoff, f"'{site}' does not vary over the inputs")
    white, back = u * spread.rsqrt(), spread.sqrt()[:, None] * u.T
    inner = back @ gradient @ back.T
    power, v = _eigen(inner, cutoff, f"nothing downstream depends on '{site}'")
    encoder, decoder = white @ v * power.sqrt(), power.rsqrt()[:, None] * v.T @ back
    peak = decoder.gather(1, decoder.abs().argmax(1, keepdim=True)).sign()
    basis = Linear(site, encoder * peak.T, decoder * peak, mean, name=name, subject=subject)
    basis.history = {"coordinate": list(range(len(power))), "importance": power.tolist()}
    basis.metrics = {"activation_rank": float(len(spread)), "interaction_rank": float(len(power))}
    return basis


def _eigen(matrix: Tensor, cutoff: float, empty: str) -> tuple[Tensor, Tensor]:
    """Eigenvalues above the cut-off, largest first, with their vectors as columns."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    # Below this, an eigenvalue is rounding.
    keep = values > max(cutoff, len(values) * torch.finfo(values.dtype).eps) * values[0]
    if not values[0] > 0 or not bool(keep.any()):
        raise Degenerate(f"{empty}.")
    return values[keep], vectors[:, keep]


def _pulled(f: Tensor, y: Tensor, probes: int | None, draw: torch.Generator) -> Iterator[Tensor]:
    """Gradients of every output, or of random signs of them, by f."""
    count = y.shape[1] if probes is None else probes
    for k in range(count):
        if probes is None:
            weights = torch.zeros_like(y)
            weights[:, k] = 1.0
        else:
            weights = (torch.randint(0, 2, y.shape, generator=draw) * 2 - 1).to(y)
        (g,) = torch.autograd.grad(y, f, weights, retain_graph=k + 1 < count)
        yield g


def _finite(x: Tensor, where: str) -> None:
    if not bool(torch.isfinite(x).all()):
        raise NonFinite(f"{where} holds {int((~torch.isfinite(x)).sum())} NaN or infinite values.")
