"""A matrix as an associative memory: ``W = sum_x q(x) u_f(x) e_x^T``, its recall, and what any matrix stores.

Which weight q(x) each pair gets decides the error for inputs of unequal frequency and random embeddings (Cabannes et al. 2023).
"""

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.rng import torch_rng


def zipf(count: int, alpha: float) -> Tensor:
    """Probabilities ``p(x) ~ x^-alpha``, x = 1..count, in float64."""
    p = torch.arange(1, count + 1, dtype=torch.float64) ** -alpha
    return p / p.sum()


def embeddings(count: int, width: int, seed: int = 0, *names: str | int) -> Tensor:
    """Random unit vectors [count, width] in float64."""
    drawn = torch.randn(count, width, generator=torch_rng(seed, "associative", *names), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=1)


def store(inputs: Tensor, outputs: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """``W = sum_x q(x) u_f(x) e_x^T`` [d_out, d_in].

    Parameters
    ----------
    inputs, outputs : Tensor[N, d_in], Tensor[M, d_out]
        Embeddings e and u.
    classes : LongTensor[N]
        f.
    weights : Tensor[N]
        q: 1 for all, p (what counting or one pass of gradient descent gives), ``p ** rho``, or 1 for the first few only.
    """
    if len(inputs) != len(classes) or len(inputs) != len(weights):
        raise ShapeError(f"{len(inputs)} inputs, {len(classes)} classes and {len(weights)} weights do not belong together.")
    return outputs[classes].T @ (weights[:, None].to(inputs) * inputs)


def associations(memory: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
    """``u_y^T W e_x`` for every input and output: Tensor[N, M]. Reads any matrix, an OV circuit or an MLP's too."""
    return inputs @ memory.T @ outputs.T


def recall_margin(memory: Tensor, inputs: Tensor, outputs: Tensor, classes: Tensor) -> Tensor:
    """How much the stored output stands above the best other one, for each input; below 0 where recall fails."""
    scores = associations(memory, inputs, outputs)
    right = scores.gather(1, classes[:, None])[:, 0]
    return right - scores.scatter(1, classes[:, None], -torch.inf).max(1).values


def recall_error(memory: Tensor, inputs: Tensor, outputs: Tensor, classes: Tensor, probabilities: Tensor) -> float:
    """``sum_x p(x) 1[argmax_y u_y^T W e_x != f(x)]``.

    Notes
    -----
    Null: outputs permuted after storing; about ``1 - 1 / M``.
    Misleads on one draw of the embeddings: a few frequent inputs decide; average over many.

    Examples
    --------
    >>> e = torch.eye(3)
    >>> recall_error(store(e, e, torch.arange(3), torch.ones(3)), e, e, torch.arange(3), zipf(3, 2.0))
    0.0
    """
    if len(probabilities) != len(inputs):
        raise UsageError(f"{len(probabilities)} probabilities for {len(inputs)} inputs.")
    wrong = recall_margin(memory, inputs, outputs, classes) <= 0
    return float(probabilities[wrong].sum())
