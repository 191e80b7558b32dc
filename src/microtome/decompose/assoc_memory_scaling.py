"""What a matrix stores: recall of input-output pairs, weighted by how often they are asked (Cabannes et al. 2023)."""

from typing import Any

import torch
from torch import Tensor

from microtome.decompose.associative import associations
from microtome.decompose.given import matrix_of, require_draws
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import torch_rng


@method(
    question="decompose",
    paper=Paper("Cabannes, Dohmatob, Bietti", 2023, "Scaling Laws for Associative Memories", "https://arxiv.org/abs/2310.02984"),
    needs=("values",),
    gives="Finding",
    stochastic=True,
    cost="O(inputs * d * outputs); nothing for the draws",
    claim="The error of a memory falls with its width as d^-(alpha - 1) when it stores the most frequent inputs only.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That the network reads these pairs from this matrix: patch it.",
    tiny={"draws": 39},
)  # fmt: skip
def assoc_memory_scaling(
    memory: Any, inputs: Any, outputs: Any, *, classes: Tensor, probabilities: Tensor | None = None, draws: int = 199,
    seed: int = 0,
) -> Finding:  # fmt: skip
    """Read a weight matrix as an associative memory: which of the given pairs it recalls, and with what margin.

    Input x is recalled when ``argmax_y u_y^T W e_x = f(x)``; its margin is the score of f(x) less that of the best
    other output.
    `decompose.associative` stores pairs in a matrix and has the paper's frequencies (`zipf`).

    Parameters
    ----------
    memory : Tensor[d_out, d_in]
        W: an OV circuit, an MLP's weights, or `associative.store`.
    inputs, outputs : Tensor[N, d_in], Tensor[M, d_out]
        Embeddings e and u.
    classes : LongTensor[N]
        f: the output that belongs to each input.
    probabilities : Tensor[N], optional
        p(x), scaled to sum 1. Default: all alike. The paper's are ``x^-alpha``.
    draws : int
        Permutations of the classes. Default 199.
    seed : int
        Of the permutations. Default 0.

    Returns
    -------
    Finding
        The estimate is the share of inputs recalled, weighted by p. Table, a row per input: input, class, answer, margin,
        signal (standard deviations of its scores by which the right one stands above their mean), recalled, probability.

    Raises
    ------
    UsageError
        When classes are out of range, probabilities are negative, or draws < 1.
    ShapeError
        When the parts do not belong together.
    NonFinite
        When a weight or an embedding is NaN or infinite.
    Degenerate
        When there is one output only, or no probability.

    Notes
    -----
    Null: classes permuted over inputs. An input's chance of being recalled is how often its answer is a class.
    Misleads when embeddings were drawn once: the few most frequent inputs decide; average over draws.

    Examples
    --------
    >>> from microtome.decompose.associative import embeddings, store
    >>> e, u, f = embeddings(30, 96), embeddings(4, 96, 1), torch.arange(30) % 4
    >>> found = assoc_memory_scaling(store(e, u, f, torch.ones(30)), e, u, classes=f, draws=39)
    >>> found.verdict, found.estimate.value > 0.8
    ('supported', True)

    References
    ----------
    Cabannes, Dohmatob, Bietti (2023). Scaling Laws for Associative Memories. https://arxiv.org/abs/2310.02984
    """
    import pandas as pd

    require_draws(draws)
    w, e, u = matrix_of(memory, "memory"), matrix_of(inputs, "inputs", least=2), matrix_of(outputs, "outputs")
    if w.shape != (u.shape[1], e.shape[1]):
        raise ShapeError(f"memory must be [{u.shape[1]}, {e.shape[1]}] (outputs, inputs), got {list(w.shape)}.")
    if len(u) < 2:
        raise Degenerate("with one output every input is recalled.")
    f, p = _classes(classes, len(e), len(u)), _probabilities(probabilities, len(e))
    scores = associations(w, e, u)
    right = scores.gather(1, f[:, None])[:, 0]
    margin = right - scores.scatter(1, f[:, None], -torch.inf).max(1).values
    answer, recalled = scores.argmax(1), margin > 0
    g = torch_rng(seed, "decompose", "assoc_memory_scaling")
    chance = [float(p[answer == f[torch.randperm(len(f), generator=g)]].sum()) for _ in range(draws)]
    spread = scores.std(1).clamp_min(torch.finfo(scores.dtype).tiny)
    hit = float(p[recalled].sum())
    return Finding(
        f"The matrix recalls {int(recalled.sum())} of {len(e)} pairs ({hit:.0%} of what is asked).",
        estimate=Estimate(hit, n=len(e), unit="share recalled", method="exact"),
        nulls=(Null("classes permuted over inputs", chance, hit),),
        controls={"per_dimension": float(recalled.sum()) / min(w.shape), "chance": 1 / len(u),
                  "median_margin": float(margin.median())},
        table=pd.DataFrame({
            "input": range(len(e)), "class": f.numpy(), "answer": answer.numpy(), "margin": margin.numpy(),
            "signal": ((right - scores.mean(1)) / spread).numpy(), "recalled": recalled.numpy(), "probability": p.numpy(),
        }),
        provenance=Provenance(seed=seed),
    )  # fmt: skip


def _classes(classes: Any, inputs: int, outputs: int) -> Tensor:
    f = torch.as_tensor(classes).cpu()
    if f.shape != (inputs,) or f.is_floating_point():
        raise ShapeError(f"classes must be whole numbers [{inputs}], got {f.dtype} {list(f.shape)}.")
    if int(f.min()) < 0 or int(f.max()) >= outputs:
        raise UsageError(f"classes must lie in 0..{outputs - 1}, got {int(f.min())} to {int(f.max())}.")
    return f.long()


def _probabilities(probabilities: Any, inputs: int) -> Tensor:
    if probabilities is None:
        return torch.full((inputs,), 1 / inputs, dtype=torch.float64)
    p = torch.as_tensor(probabilities).cpu().double()
    if p.shape != (inputs,) or not bool((p >= 0).all()):
        raise UsageError(f"probabilities must be [{inputs}] and none negative, got {list(p.shape)}.")
    if not float(p.sum()) > 0:
        raise Degenerate("all probabilities are 0: nothing is asked.")
    return p / p.sum()
