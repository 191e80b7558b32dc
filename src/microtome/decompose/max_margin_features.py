"""How near a network for modular addition is to the largest margin, and whether its neurons are those that reach it."""

from typing import Any

import torch

from microtome.decompose.given import neurons_of, require_draws
from microtome.decompose.margins import largest_margin, logits_of_pairs, normalised_margin
from microtome.decompose.periodic import phase_mismatch, power_spectrum, top_frequency
from microtome.errors import UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import torch_rng


@method(
    question="decompose",
    paper=Paper("Morwani et al.", 2023, "Feature emergence via margin maximization: case studies in algebraic tasks",
                "https://arxiv.org/abs/2311.07568"),
    needs=("values",),
    gives="Finding",
    stochastic=True,
    cost="O((1 + draws) * p^3 * neurons)",
    claim="The largest normalised margin has a closed form; networks near it are made of single waves whose phases add.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Anything of another norm or activation: the bound is for squares and the L_(2,3) norm.",
    tiny={"draws": 19},
)  # fmt: skip
def max_margin_features(left: Any, right: Any, out: Any, *, draws: int = 99, seed: int = 0) -> Finding:
    """Compare the margin of ``f(a, b) = sum_i (u_i[a] + v_i[b])^2 w_i`` with the largest that addition modulo p allows.

    The margin (right logit less the best wrong one, smallest over all pairs) is divided by the cube of the L_(2,3) norm of the
    neurons; no network exceeds ``sqrt(2 / 27) / (sqrt(p) (p - 1))``.

    Parameters
    ----------
    left, right : Tensor[neurons, p]
        u and v: how a neuron reads the first and the second number. p is an odd prime.
    out : Tensor[neurons, p]
        w: how it writes the answer. The paper penalises the L_(2,3) norm weakly.
    draws : int
        Matchings of neurons. Default 99.
    seed : int
        Of the matchings. Default 0.

    Returns
    -------
    Finding
        The estimate is the margin as a share of the largest (negative where an answer is wrong). Table, largest neuron first:
        neuron, norm, frequency, share (of its power at that frequency, mean of the three blocks), mismatch (of phases,
        radians). Controls: accuracy, frequencies used and frequencies there are, medians of share and mismatch.

    Raises
    ------
    UsageError
        When p is no odd prime, or draws < 1.
    ShapeError
        When the blocks differ in shape.
    NonFinite
        When a weight is NaN or infinite.
    Degenerate
        When a block is 0.

    Notes
    -----
    Null: what neurons read matched at random with what they write: each stays as periodic, and nothing is computed.
    Misleads when the network has another activation or was trained with another norm: the bound is not its own.

    Examples
    --------
    >>> from microtome.decompose.margins import addition_optimum
    >>> found = max_margin_features(*addition_optimum(5, grid=4), draws=19)
    >>> round(found.estimate.value, 6), found.controls["frequencies"], found.verdict
    (1.0, 2.0, 'supported')

    References
    ----------
    Morwani et al. (2023). Feature emergence via margin maximization: case studies in algebraic tasks.
    https://arxiv.org/abs/2311.07568
    """
    import pandas as pd

    require_draws(draws)
    u, v, w = neurons_of(left, right, out)
    p = u.shape[1]
    if p < 3 or any(p % q == 0 for q in range(2, int(p**0.5) + 1)):
        raise UsageError(f"the largest margin is known for an odd prime, got p = {p}.")
    best = largest_margin(p)
    observed = normalised_margin((u, v, w)) / best
    g = torch_rng(seed, "decompose", "max_margin_features")
    chance = [normalised_margin((u, v, w[torch.randperm(len(w), generator=g)])) / best for _ in range(draws)]
    a = torch.arange(p)
    hits = logits_of_pairs((u, v, w)).argmax(1) == ((a[:, None] + a) % p).flatten()
    frequency = top_frequency(w)[0]
    share = torch.stack([power_spectrum(t).gather(1, frequency[:, None] - 1)[:, 0] for t in (u, v, w)]).mean(0)
    norm, mismatch = torch.cat([u, v, w], 1).norm(dim=1), phase_mismatch(u, v, w)
    order = norm.argsort(descending=True, stable=True)
    live = norm > 0.1 * norm.max()
    table = pd.DataFrame({
        "neuron": order.numpy(), "norm": norm[order].numpy(), "frequency": frequency[order].numpy(),
        "share": share[order].numpy(), "mismatch": mismatch[order].numpy(),
    })  # fmt: skip
    return Finding(
        f"The network has {observed:.2f} of the largest margin of addition modulo {p}.",
        estimate=Estimate(observed, n=len(u), unit="share of the largest margin", method="exact, over all pairs"),
        nulls=(Null("what neurons write matched at random with what they read", chance, observed),),
        controls={
            "accuracy": float(hits.double().mean()), "frequencies": float(len(frequency[live].unique())),
            "frequencies_possible": float(p // 2), "median_share": float(share[live].median()),
            "median_mismatch": float(mismatch[live].median()),
        },
        table=table, provenance=Provenance(seed=seed),
        notes=("Medians and frequencies are of neurons with more than 0.1 of the largest norm.",),
    )  # fmt: skip
