"""Functional information: how much each feature tells about a positive output, under a Gaussian around the input."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.paths import walk
from microtome.attribute.place import input_site, position_mask, token_texts
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Paper, method
from microtome.rng import torch_rng

Map = Callable[[Tensor], Tensor]


@method(
    question="attribute",
    paper=Paper("Gat, Calderon, Reichart, Hazan", 2022, "A Functional Information Perspective on Model Interpretation",
                "https://arxiv.org/abs/2206.05700"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=True,
    cost="`samples` forwards and backwards, in chunks of bounded memory",
    claim="The information of the features bounds the entropy of the output around the input, and finds the informative ones.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="A direction, or the effect of removing a feature: it is the slope of the output near the input, squared.",
    tiny={"samples": 16},
)  # fmt: skip
def functional_information(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    covariance: float | Tensor | None = None,
    spread: float = 0.15,
    samples: int = 64,
    metric: str = "log_prob",
    seed: int = 0,
) -> Attribution:
    """Divide the functional Fisher information of an output ``f = exp(m)`` over the features.

    ``I_i = E[(S grad f)_i (grad f)_i / f] = E[f (S grad m)_i (grad m)_i]`` with ``z ~ N(x, S)``. The logarithmic Sobolev
    inequality says ``E[f log f] - E[f] log E[f] <= sum_i I_i / 2``, with equality for ``f = exp(a . z)``. The second form needs
    no division by f.

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    covariance : number or Tensor, optional
        Of the site's cells: one variance, a variance per cell (or what broadcasts to the cells), or a matrix
        [cells, cells], which may be singular. Estimate it from data: ``torch.cov(rows.flatten(1).T)``. Default: for each
        example the variance of its own cells.
    spread : float, default 0.15
        Factor of the covariance: ``S = spread * covariance`` (the authors' code: 0.15).
    samples : int, default 64
        Draws, the same for every example.
    metric : str, default log_prob
        m, the logarithm of the output: f is the probability of the answer (the paper's).
    seed : int, default 0

    Returns
    -------
    Attribution
        ``terms``: "entropy", the left side of the inequality from the same draws, and "bound", half the sum of I. Cells are
        not negative unless `covariance` is a matrix; their sums are.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite
    Degenerate
        For a matrix that is no covariance: not symmetric, or with negative eigenvalues.

    Notes
    -----
    Null: a random network has slopes as well; compare with `subject.twin()`.
    Misleads when the output saturates within the spread, and when features stand in for each other: with a diagonal
    covariance what is drawn does not occur.

    Examples
    --------
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    >>> x = torch.zeros(1, 3)
    >>> task = Task("first class", x, x - 1, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> found = functional_information(Subject(torch.nn.Sequential(layer)), task, covariance=1.0, metric="logit_difference")
    >>> [round(v, 3) for v in (found.values / found.values.sum())[0].tolist()]
    [0.8, 0.2, 0.0]

    References
    ----------
    Gat, Calderon, Reichart, Hazan (2022). A Functional Information Perspective on Model Interpretation.
    https://arxiv.org/abs/2206.05700
    """
    counted("samples", samples, least=2)
    if not spread > 0:
        raise UsageError(f"spread must be positive, got {spread!r}.")
    bound = subject.bind(task, metric=metric)
    name = subject.site(at or input_site(subject)).name
    run = subject.run(bound.inputs, record=[name], logits="all" if bound.metric.positions is None else bound.metric.positions)
    x = run[name]
    times, root = _maps(covariance, x, name)
    g = torch_rng(seed, "functional information")

    def points() -> Iterator[dict[str, Tensor]]:
        for _ in range(samples):
            drawn = torch.randn(x.shape[1:], generator=g, dtype=torch.float64).to(x)
            yield {name: x + spread**0.5 * root(drawn.expand_as(x))}

    total = torch.zeros_like(x, dtype=torch.float64)
    outputs = []
    for chunk in walk(subject, bound, points(), [name]):
        outputs.append(chunk.output.double())
        slope = chunk.grads[name].double()
        f = outputs[-1].exp().reshape(len(slope), -1, *[1] * (x.ndim - 1))
        total += (f * spread * times(slope) * slope).sum(0)
    m, value = torch.cat(outputs), total / samples
    f, mean = m.exp(), m.exp().mean(0)
    terms = {"entropy": ((f * m).mean(0) - mean * mean.log()).cpu(), "bound": value.flatten(1).sum(1).cpu() / 2}
    value = value.to(x.dtype)
    return Attribution(
        value.cpu(), subject.site(name).axes_of(x), name, "functional information",
        bound.metric(bound.metric.read(run.logits)).cpu(), None, 2 * samples + 1, position_mask(subject, bound.inputs, name, x),
        token_texts(subject, bound.inputs), subject.fingerprint(), task.fingerprint(),
        {"metric": bound.metric.name, "spread": spread, "samples": samples, "seed": seed}, terms=terms,
    )  # fmt: skip


def _maps(covariance: float | Tensor | None, x: Tensor, site: str) -> tuple[Map, Map]:
    """v -> C v and v -> C^(1/2) v for tensors [..., n, *cells]."""
    if covariance is None:
        own = x.double().flatten(1).var(1).reshape(-1, *[1] * (x.ndim - 1))
        return lambda v: own * v, lambda v: (own**0.5).to(v) * v
    c = torch.as_tensor(covariance).to(device=x.device, dtype=torch.float64)
    cells = x[0].numel()
    if c.shape == (cells, cells) and c.shape != x.shape[1:]:
        values, vectors = torch.linalg.eigh(c)
        if not torch.allclose(c, c.T, rtol=1e-6) or float(values[0]) < -1e-6 * float(values[-1].abs()):
            raise Degenerate(f"the matrix is no covariance of {site}: not symmetric, or with negative eigenvalues.")
        half = vectors * values.clamp(min=0) ** 0.5
        flat = lambda v, m: (v.flatten(x.ndim * -1 + 1).double() @ m.T).to(v).view_as(v)  # noqa: E731
        return lambda v: flat(v, c), lambda v: flat(v, half)
    try:
        c = c.expand(x.shape[1:])
    except RuntimeError as error:
        raise ShapeError(
            f"the covariance {list(c.shape)} fits neither the cells {list(x.shape[1:])} of {site} nor [{cells}, {cells}]."
        ) from error
    if not bool((c >= 0).all()):
        raise Degenerate(f"a variance of {site} is negative.")
    return lambda v: c * v, lambda v: (c**0.5).to(v) * v
