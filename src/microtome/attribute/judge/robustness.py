"""Does a map stay when the input hardly moves? Two norms of the same neighbours: max-sensitivity and local Lipschitz."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.judge.infidelity import shifts
from microtome.attribute.place import input_site
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.rng import torch_rng
from microtome.subject.edit import Edit

#: A method with its options fixed: (subject, task) -> Attribution.
Explain = Callable[[Any, Any], Attribution]
#: Cells of stacked inputs per call of the method.
CHUNK_CELLS = 2**21


def max_sensitivity(
    subject: Any, task: Any, explain: Explain, *, radius: float | Tensor = 0.02, draws: int = 10, seed: int = 0
) -> Tensor:
    """Largest relative change of a map near the input [n]; lower is better.

    ``max |A(x + d) - A(x)| / |A(x)|`` over d uniform in a box. Of texts and token ids, x are the embeddings.

    Parameters
    ----------
    subject : Subject
    task : Task
        Images or vectors, which are moved all at once; or texts or token ids, whose embeddings are moved (site "embed", or the
        embedding layer), example by example and draw by draw.
    explain : callable
        (subject, task) -> Attribution.
    radius : float or Tensor[draws, n, ...], default 0.02
        Half the side of the box, as a share of the range of each example's input (embeddings); or the moves themselves.
    draws : int, default 10
    seed : int, default 0

    Returns
    -------
    Tensor[n]

    Raises
    ------
    UsageError
        For inputs that cannot be moved (images in bytes).
    ShapeError
        When moves do not fit the inputs, or the embeddings.
    Degenerate
        When a map is all zero.

    Notes
    -----
    Null: none is needed to compare methods; a map that ignores network and input has 0.
    Misleads when read alone: a constant map is perfectly robust. Embeddings stay moved in every run that the method makes, so
    a baseline "corrupt" moves with them.

    References
    ----------
    Yeh et al. (2019). On the (In)fidelity and Sensitivity of Explanations. https://arxiv.org/abs/1901.09392
    """
    size, moved, _ = neighbours(subject, task, explain, radius, draws, seed)
    flat = (size == 0).nonzero().flatten().tolist()
    if flat:
        raise Degenerate(f"the map of example {flat[0]} is zero everywhere: a relative change has no meaning.")
    return moved.amax(0) / size


def local_lipschitz(
    subject: Any, task: Any, explain: Explain, *, radius: float | Tensor = 0.02, draws: int = 10, seed: int = 0
) -> Tensor:
    """Largest change of a map per change of the input [n]; lower is better. Parameters as in `max_sensitivity`.

    ``max |A(x + d) - A(x)| / |d|``

    Notes
    -----
    Null: as `max_sensitivity`. Misleads when methods give maps in different units: compare relative changes.

    References
    ----------
    Alvarez-Melis, Jaakkola (2018). On the Robustness of Interpretability Methods. https://arxiv.org/abs/1806.08049
    """
    _, moved, steps = neighbours(subject, task, explain, radius, draws, seed)
    return (moved / steps.clamp(min=1e-300)).amax(0)


def neighbours(
    subject: Any, task: Any, explain: Explain, radius: float | Tensor, draws: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Norms: of the map [n], of its changes [draws, n], and of the moves of the input [draws, n]."""
    x = task.clean
    if task.kind in ("text", "tokens"):
        return _embeddings_moved(subject, task, explain, radius, draws, seed)
    if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
        raise UsageError(f"task '{task.name}' has {task.kind} inputs that cannot be moved a little; give them in floats.")
    moves = _moves(x, radius, draws, torch_rng(seed, "neighbours"))
    here = explain(subject, task).values.double()
    changes = []
    for part in moves.split(max(1, CHUNK_CELLS // x.numel())):
        found = explain(subject, _stacked(task, x + part)).values.double()
        changes.append((found.unflatten(0, (len(part), len(x))) - here).flatten(2).norm(dim=2))
    return here.flatten(1).norm(dim=1), torch.cat(changes), moves.double().flatten(2).norm(dim=2)


def _stacked(task: Any, inputs: Tensor) -> Any:
    """The task on inputs [k, n, ...], all copies in one batch."""
    k = len(inputs)
    groups = [g + i * (max(task.groups) + 1) for i in range(k) for g in task.groups]
    return replace(
        task, clean=inputs.flatten(0, 1), corrupt=task.corrupt.repeat(k, *[1] * (task.corrupt.ndim - 1)), roles={},
        answers=torch.as_tensor(task.answers).repeat(k), wrong=torch.as_tensor(task.wrong).repeat(k), groups=groups,
    )  # fmt: skip


def _moves(x: Tensor, radius: float | Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Moves [draws, n, ...] of x [n, ...]: given, or uniform in a box."""

    def box(shape: tuple[int, ...]) -> Tensor:
        return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1

    return shifts(x, radius, draws, box, "radius")


def _embeddings_moved(
    subject: Any, task: Any, explain: Explain, radius: float | Tensor, draws: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`neighbours` of token models: an edit adds each move to what the embedding layer gives.

    One example at a time: an edit with one row serves whatever batch a method makes of the example.
    """
    site, norms = input_site(subject), []
    if isinstance(radius, Tensor) and (radius.ndim < 2 or radius.shape[1] != len(task)):
        raise ShapeError(f"moves {list(radius.shape)} do not fit [draws, {len(task)}, positions, units].")
    for i in range(len(task)):
        one = task[i : i + 1]
        x = subject.run(subject.bind(one).inputs, record=[site], logits="none")[site]
        given = radius[:, i : i + 1] if isinstance(radius, Tensor) else radius
        moves = _moves(x, given, draws, torch_rng(seed, "neighbours", i))
        here, changes = explain(subject, one).values.double(), []
        for k, move in enumerate(moves, start=1):
            with subject.edit(Edit(site, "add", move)):
                # Another group, so that a map which is drawn at random for each task is drawn anew.
                found = explain(subject, replace(one, groups=[one.groups[0] + k]))
            changes.append((found.values.double() - here).norm())
        norms.append((here.norm(), torch.stack(changes), moves.double().flatten(1).norm(dim=1)))
    size, moved, steps = zip(*norms, strict=True)
    return torch.stack(size), torch.stack(moved, dim=1), torch.stack(steps, dim=1)
