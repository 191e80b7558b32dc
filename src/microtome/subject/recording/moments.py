"""Mean and spread of a stream of rows, accumulated in float64."""

from collections.abc import Iterable

import torch
from torch import Tensor


def moments(batches: Iterable[Tensor]) -> tuple[int, Tensor, Tensor]:
    r"""Count, mean and sum of squared deviations of the columns of a stream of matrices.

    Chan's update :math:`M = M_a + M_b + \delta^2 n_a n_b / n`, on values less the first row, so that a constant column
    has exactly zero spread.

    Parameters
    ----------
    batches : iterable of Tensor[rows, units]

    Returns
    -------
    count : int
    mean, squares : Tensor[units], float64
    """
    count, first, mean, squares = 0, torch.zeros(0), torch.zeros(0), torch.zeros(0)
    for batch in batches:
        values = batch.to(torch.float64)
        if not count:
            first = values[0].clone()
            mean, squares = torch.zeros_like(first), torch.zeros_like(first)
        values = values - first
        here, n = values.mean(0), len(values)
        delta = here - mean
        squares += (values - here).square_().sum(0) + delta.square() * (count * n / (count + n))
        mean += delta * (n / (count + n))
        count += n
    return count, first + mean, squares
