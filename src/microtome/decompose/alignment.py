"""How alike two representations of the same samples are: centred kernel alignment, plain and debiased."""

import torch
from torch import Tensor

from microtome.errors import Degenerate, NonFinite, ShapeError


def cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> float:
    """Linear centred kernel alignment of two representations.

    ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` with ``K = x x^T``, ``L = y y^T``.

    Parameters
    ----------
    x, y : Tensor[n, d], Tensor[n, e]
        Rows are the same samples.
    debiased : bool
        With the unbiased estimator of HSIC (Song et al. 2012): independent representations give 0 on average. The plain
        one grows towards 1 as d / n grows. Default True.

    Notes
    -----
    Null: rows of y permuted; about 0 when debiased.
    Misleads when a few directions carry most of the variance: alignment is theirs, whatever the others compute.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 3.0], [0.0, 0.5]])
    >>> round(cka(x, 3 * x), 6)
    1.0
    """
    for name, t in (("x", x), ("y", y)):
        if t.ndim != 2:
            raise ShapeError(f"{name} must be [samples, units], got shape {tuple(t.shape)}.")
    return kernel_alignment(x.double() @ x.double().T, y.double() @ y.double().T, debiased=debiased)


def kernel_alignment(k: Tensor, l: Tensor, *, debiased: bool = True) -> float:
    """Centred alignment of two kernels [n, n] of the same samples; see `cka`."""
    if k.ndim != 2 or k.shape[0] != k.shape[1] or k.shape != l.shape:
        raise ShapeError(f"kernels must be square and of one size, got {tuple(k.shape)} and {tuple(l.shape)}.")
    if not bool(torch.isfinite(k).all() and torch.isfinite(l).all()):
        raise NonFinite("a kernel holds NaN or infinite values.")
    least = 4 if debiased else 2
    if len(k) < least:
        raise Degenerate(f"{len(k)} samples; at least {least} are needed.")
    hsic = _unbiased if debiased else _plain
    k, l = k.double(), l.double()
    own = hsic(k, k) * hsic(l, l)
    # Rounding of a kernel that is constant after centring.
    if not own > (1e-14 * float(k.abs().max()) * float(l.abs().max())) ** 2:
        raise Degenerate("a representation does not vary over the samples: alignment with it is not defined.")
    return hsic(k, l) / own**0.5


def _plain(k: Tensor, l: Tensor) -> float:
    centre = lambda m: m - m.mean(0) - m.mean(1, keepdim=True) + m.mean()  # noqa: E731
    return float((centre(k) * centre(l)).sum()) / (len(k) - 1) ** 2


def _unbiased(k: Tensor, l: Tensor) -> float:
    n = len(k)
    k, l = (m - torch.diag(m.diagonal()) for m in (k, l))
    rows, columns = k.sum(0), l.sum(0)
    cross = float((k * l).sum()) + float(rows.sum() * columns.sum()) / ((n - 1) * (n - 2))
    return (cross - 2 / (n - 2) * float(rows @ columns)) / (n * (n - 3))
