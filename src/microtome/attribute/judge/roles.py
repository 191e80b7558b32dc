"""Where the evidence lies in a text: the tokens that play a role."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from microtome.errors import Degenerate, UsageError, nearest


def role_masks(subject: Any, task: Any, roles: Sequence[str]) -> Tensor:
    """True at the last token of each of some roles [n, positions]; `masks` of `evaluate` for measures of localisation.

    Parameters
    ----------
    subject : Subject
    task : Task
        With roles.
    roles : sequence of str
        An example that lacks one has the others only.

    Returns
    -------
    BoolTensor[n, positions]
        As wide as the batch.

    Raises
    ------
    UsageError
        No such role; names those there are.
    Degenerate
        An example that has none of them.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> task = subject.organism.examples(2)
    >>> role_masks(subject, task, list(task.roles)[:1]).sum(1).tolist()
    [1, 1]
    """
    wrong = [r for r in roles if r not in task.roles]
    if wrong or not roles:
        asked = f"no role {wrong[0]!r}" if wrong else "no roles were named"
        raise UsageError(f"{asked}; task '{task.name}' has {', '.join(task.roles) or 'none'}."
                         f"{nearest(wrong[0], task.roles) if wrong else ''}")  # fmt: skip
    bound = subject.bind(task)
    mask = torch.zeros(bound.inputs.main.shape[:2], dtype=torch.bool)
    start = bound.inputs.frame.start
    for role in roles:
        place = bound.roles[role]
        has = place >= 0
        mask[has.nonzero().flatten(), (start + place)[has]] = True
    empty = (~mask.any(1)).nonzero().flatten().tolist()
    if empty:
        raise Degenerate(f"example {empty[0]} of task '{task.name}' has none of the roles {', '.join(roles)}.")
    return mask
