"""Data-parallel training: each process takes its share of the rows of a batch, gradients and counts are summed."""

from typing import Any

import torch
from torch import Tensor


def world() -> tuple[int, int]:
    """Rank and number of processes of torch.distributed; (0, 1) where it is not set up."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def share(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows of a batch that this process works on: every n-th, so that all processes have equally many but one."""
    rank, n = world()
    return rows if n == 1 else {name: value[rank::n] for name, value in rows.items()}


@torch.no_grad()
def gather(p: dict[str, Tensor], step: Any) -> Any:
    """The step of the whole batch: gradients averaged, losses too, errors and counts summed. In place for gradients.

    The average is the gradient of the mean over the whole batch where the loss is a mean over rows. What couples rows
    (AuxK's normalisation, BatchTopK's choice) does so within each process.
    """
    import torch.distributed as dist

    _, n = world()
    if n == 1:
        return step
    for value in p.values():
        if value.requires_grad and value.grad is not None:
            dist.all_reduce(value.grad)
            value.grad /= n
        elif value.requires_grad:
            value_now = value.detach().clone()
            dist.all_reduce(value_now)
            value.copy_(value_now / n)
    loss, error, fired = step.loss.detach().clone(), step.error.clone(), step.fired.clone()
    for tensor in (loss, error, fired):
        dist.all_reduce(tensor)
    return step._replace(loss=loss / n, error=error, fired=fired)
