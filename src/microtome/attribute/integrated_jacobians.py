"""Integrated Jacobians: what of the similarity of two inputs lies between which part of one and which part of the other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted, named
from microtome.attribute.paths import gauss_legendre, walk
from microtome.attribute.place import Baseline, baseline_at, input_site, position_mask, token_texts
from microtome.errors import SiteError, UsageError
from microtome.method import Paper, method
from microtome.subject.edit import patch
from microtome.subject.inputs import Inputs


@method(
    question="attribute",
    paper=Paper("Möller, Nikolaev, Padó", 2023, "An Attribution Method for Siamese Encoders", "https://arxiv.org/abs/2310.05703"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="2 * `steps` forwards, each with one backward per dimension of the embedding, in chunks of bounded memory",
    claim="A similarity divides exactly into pairs of tokens, up to terms of the references; trained encoders put it on pairs "
    "that belong together.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That a pair matters alone: it is a product of two shares along two paths, and the references mean something.",
    tiny={"steps": 8},
)  # fmt: skip
def integrated_jacobians(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    baseline: Baseline = "zero",
    steps: int = 32,
    similarity: Literal["dot", "cosine"] = "dot",
) -> Attribution:
    """Divide the similarity of two inputs under one encoder into pairs of positions.

    ``A_ij = ((a - r_a) J_a)_i . ((b - r_b) J_b)_j``, ``J = int_0^1 de/dx (r + t (x - r)) dt``, summed over the units of each
    position, so that ``sum A = (e(a) - e(r_a)) . (e(b) - e(r_b)) = f(a, b) - f(r_a, b) - f(a, r_b) + f(r_a, r_b)``.

    Parameters
    ----------
    subject : Subject
        An encoder: its output [n, dim] is e; of a language model, the logits at the last position.
    task : Task
        The pairs: `clean` beside `corrupt`. Answers are not read.
    at : str, optional
        Site; default the embeddings. Deeper sites need fewer steps.
    baseline : str, number or Tensor
        References of both sides (the paper: a sequence of padding; pass its values at the site).
    steps : int, default 32
        Gauss-Legendre nodes (the paper: 50 to 250 equal steps).
    similarity : {"dot", "cosine"}
        "cosine" divides by the norms of e(a) and e(b), which are held constant.

    Returns
    -------
    Attribution
        Axes (batch, position, other). ``output`` f(a, b); ``terms`` the three terms of the references, which are not zero for
        an encoder that was not trained to have e(r) = 0; ``residual`` what the integral misses.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite

    Notes
    -----
    Null: complete on any encoder; equal tokens attract each other in random encoders as well. Compare with `subject.twin()`.
    Misleads when the terms of the references are as large as the similarity: what is divided is then another number.

    Examples
    --------
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> class Encoder(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embed = torch.nn.Embedding.from_pretrained(torch.eye(3))
    ...     def forward(self, input_ids):
    ...         return self.embed(input_ids).sum(1)
    >>> one = torch.tensor([1])
    >>> pairs = Task("pairs", torch.tensor([[0, 1]]), torch.tensor([[1, 2]]), one, 1 - one, kind="tokens")
    >>> integrated_jacobians(Subject(Encoder()), pairs, at="embed").values.round(decimals=3).tolist()
    [[[0.0, 0.0], [1.0, 0.0]]]

    References
    ----------
    Möller, Nikolaev, Padó (2023). An Attribution Method for Siamese Encoders. https://arxiv.org/abs/2310.05703
    """
    counted("steps", steps)
    if similarity not in ("dot", "cosine"):
        raise UsageError(f"similarity must be 'dot' or 'cosine', got {similarity!r}.")
    bound = subject.bind(task)
    name = subject.site(at or input_site(subject)).name
    sides = [_Side(bound.inputs, _Embedding(bound.metric.positions)), _Side(bound.corrupt, _Embedding(bound.metric.positions))]
    (a, e_a, r_a, seen), (b, e_b, r_b, _) = (_divided(subject, bound, s, name, baseline, steps) for s in sides)
    norm = torch.ones(len(e_a)) if similarity == "dot" else e_a.norm(dim=1) * e_b.norm(dim=1)
    f = lambda x, y: ((x * y).sum(1) / norm).cpu()  # noqa: E731
    terms = {"f(reference, b)": f(r_a, e_b), "f(a, reference)": f(e_a, r_b), "f(reference, reference)": f(r_a, r_b)}
    reference = terms["f(reference, b)"] + terms["f(a, reference)"] - terms["f(reference, reference)"]
    value = (torch.einsum("dni,dnj->nij", a, b) / norm[:, None, None]).cpu()
    return Attribution(
        value, ("batch", "position", "other"), name, "integrated Jacobians", f(e_a, e_b), reference,
        2 * (steps * (1 + len(a)) + 2), position_mask(subject, bound.inputs, name, seen), token_texts(subject, bound.inputs),
        subject.fingerprint(), task.fingerprint(),
        {"similarity": similarity, "steps": steps, "baseline": named(baseline)}, terms=terms,
    )  # fmt: skip


@dataclass(frozen=True)
class _Embedding:
    """The embedding as a metric with one column per dimension."""

    positions: Tensor | None

    def __call__(self, logits: Tensor) -> Tensor:
        return logits

    def read(self, logits: Tensor) -> Tensor:
        if logits.ndim == 3 and logits.shape[1] == 1:
            return logits[:, 0]
        if self.positions is None or logits.ndim == 2:
            return logits
        return logits[torch.arange(len(logits)), self.positions.to(logits.device)]

    def repeat(self, times: int) -> "_Embedding":
        return replace(self, positions=None if self.positions is None else self.positions.repeat(times))


@dataclass(frozen=True)
class _Side:
    inputs: Inputs
    metric: _Embedding


def _divided(subject: Any, bound: Any, side: _Side, site: str, baseline: Baseline, steps: int):
    """e(x) - e(r) divided over positions [dim, n, position], e(x), e(r) [n, dim], and the site's value."""
    rows = "all" if side.metric.positions is None else side.metric.positions
    run = subject.run(side.inputs, record=[site], logits=rows)
    x = run[site]
    axes = subject.site(site).axes_of(x)
    if "position" not in axes:
        raise SiteError(f"{site} has axes {axes}: integrated Jacobians need positions.")
    start = baseline_at(subject, bound, site, x, baseline)
    base = subject.run(side.inputs, edits=[patch(site, start)], logits=rows)
    nodes, weights = gauss_legendre(steps)

    def points() -> Iterator[dict[str, Tensor]]:
        for node in nodes:
            yield {site: start + float(node) * (x - start)}

    rest = [1 + i for i, axis in enumerate(axes) if axis not in ("batch", "position")]
    total, done = None, 0
    for chunk in walk(subject, side, points(), [site]):
        k = len(chunk.output)
        slope = torch.einsum("k,dk...->d...", torch.as_tensor(weights[done : done + k]).to(x), chunk.grads[site])
        part = ((x - start) * slope).sum(dim=rest) if rest else (x - start) * slope
        total, done = part if total is None else total + part, done + k
    assert total is not None
    return total, side.metric.read(run.logits), side.metric.read(base.logits), x
