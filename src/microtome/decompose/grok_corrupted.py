"""Which neurons compute a rule and which know answers by heart: periodic weights (Doshi et al. 2024)."""

from typing import Any

import torch

from microtome.decompose.given import neurons_of, require_draws
from microtome.decompose.periodic import inverse_participation, phase_mismatch, top_frequency
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.method import Paper, method
from microtome.rng import torch_rng

#: A neuron is periodic when its score is above this share of scores without order.
ABOVE = 0.99


@method(
    question="decompose",
    paper=Paper("Doshi et al.", 2024,
                "To grok or not to grok: Disentangling generalization and memorization on corrupted algorithmic datasets",
                "https://arxiv.org/abs/2310.13061"),
    needs=("values",),
    gives="Finding",
    stochastic=True,
    cost="O((1 + draws) * neurons * p log p)",
    claim="Neurons with periodic weights carry the rule; pruning the others keeps it and forgets wrong labels.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That a neuron without period does nothing for the rule: prune it and look.",
    tiny={"draws": 19},
)  # fmt: skip
def grok_corrupted(left: Any, right: Any, out: Any, *, draws: int = 99, seed: int = 0) -> Finding:
    """Score every neuron of a network for arithmetic modulo p by how periodic its weights are.

    ``IPR = sum_f |F_f|^4 / (sum_f |F_f|^2)^2`` over the Fourier coefficients of a neuron's weights (constant left out),
    averaged over the three blocks: 1 for one wave, small for weights that know single pairs by heart.

    Parameters
    ----------
    left, right : Tensor[neurons, p]
        Weights by which a neuron reads the first and the second number (the paper's two blocks of W_in).
    out : Tensor[neurons, p]
        Weights by which it writes the answer.
    draws : int
        Permutations. Default 99.
    seed : int
        Of the permutations. Default 0.

    Returns
    -------
    Finding
        The estimate is the share of periodic neurons. Table, lowest score first (the order in which to prune): neuron, ipr,
        frequency, share (of its power, in `out`), mismatch (of phases, radians), norm, periodic.

    Raises
    ------
    UsageError
        When draws < 1, or a block holds no numbers.
    ShapeError
        When the blocks differ in shape, or p < 3.
    NonFinite
        When a weight is NaN or infinite.
    Degenerate
        When a block is 0.

    Notes
    -----
    Null: the weights of each neuron in random order; a neuron is periodic above 99% of such scores, and the share of periodic
    neurons is compared with that among permuted ones. About 1% by chance.
    Misleads when p is small (few frequencies: chance scores are high), and for tasks whose waves are not those of addition.

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> k, x = torch.arange(1, 6)[:, None], torch.arange(13) * 2 * torch.pi / 13
    >>> heart = torch.randn(3, 5, 13, generator=g)
    >>> u, v, w = (torch.cat([(k * x + t).cos(), r]) for t, r in zip((0.2, 0.5, 0.7), heart))
    >>> found = grok_corrupted(u, v, w, draws=19)
    >>> found.verdict, found.table["neuron"].tolist()[5:], round(float(found.table["mismatch"][9]), 3)
    ('supported', [0, 1, 2, 3, 4], 0.0)

    References
    ----------
    Doshi et al. (2024). To grok or not to grok: Disentangling generalization and memorization on corrupted algorithmic
    datasets. https://arxiv.org/abs/2310.13061
    """
    import pandas as pd

    require_draws(draws)
    blocks = neurons_of(left, right, out)
    score = inverse_participation(*blocks)
    g = torch_rng(seed, "decompose", "grok_corrupted")
    chance = torch.stack([
        inverse_participation(*(t.gather(1, torch.rand(t.shape, generator=g).argsort(1)) for t in blocks)) for _ in range(draws)
    ])  # fmt: skip
    cut = chance.flatten().sort().values[min(chance.numel() - 1, int(ABOVE * chance.numel()))]
    periodic = score > cut
    frequency, power, _ = top_frequency(blocks[2])
    # Two neurons of equal score stand in their own order, whatever the rounding.
    order = (score * 1e9).round().argsort(stable=True)
    columns = {
        "neuron": torch.arange(len(score)), "ipr": score, "frequency": frequency, "share": power,
        "mismatch": phase_mismatch(*blocks), "norm": torch.cat(blocks, 1).norm(dim=1), "periodic": periodic,
    }  # fmt: skip
    share = float(periodic.double().mean())
    return Finding(
        f"{int(periodic.sum())} of {len(score)} neurons are periodic: they compute with waves.",
        estimate=Estimate(share, n=len(score), unit="share of neurons", method="scores above 99% of those of permuted weights"),
        nulls=(Null("weights of each neuron permuted", (chance > cut).double().mean(1).numpy(), share),),
        controls={"cut": float(cut), "median_ipr": float(score.median()), "chance_ipr": float(chance.mean()),
                  "frequencies": float(len(frequency[periodic].unique()))},
        table=pd.DataFrame({name: values[order].numpy() for name, values in columns.items()}),
        provenance=Provenance(seed=seed),
    )  # fmt: skip
