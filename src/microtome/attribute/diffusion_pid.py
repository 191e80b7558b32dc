"""Partial information decomposition of a diffusion model: what two parts of a prompt say about a picture, cell by cell."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.paths import gauss_legendre
from microtome.errors import NonFinite, ShapeError, UsageError
from microtome.method import Paper, method
from microtome.rng import torch_rng

ATOMS = ("redundancy", "unique first", "unique second", "synergy")
#: (noisy [m, ...], log-SNR [m], condition [m, ...] or None) -> the noise that is expected [m, ...].
Denoiser = Callable[[Tensor, Tensor, Any], Tensor]
Form = Literal["orthogonal", "direct"]


@method(
    question="attribute",
    paper=Paper("Dewan, Zawar, Saxena, Chang, Luo, Bisk", 2024, "DiffusionPID: Interpreting Diffusion via Partial Information "
                "Decomposition", "https://arxiv.org/abs/2406.05191"),
    needs=("values",),
    gives="Attribution",
    stochastic=True,
    cost="4 * nodes * draws calls of the denoiser per picture",
    claim="The information of two words about a picture splits into what both say, what each alone says, and what only both "
    "together say.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the words cause the cells: information is in the denoiser's density, and another redundancy gives other "
    "atoms.",
    tiny={"draws": 16, "nodes": 24},
    skips={"batch": "noise is drawn for all pictures at once, so a part of them meets other noise",
           "bad_input": "it takes a function that denoises, not a network with weights"},
)  # fmt: skip
def diffusion_pid(
    denoiser: Denoiser,
    x: Tensor,
    prompts: Sequence[Any],
    *,
    form: Form = "orthogonal",
    nodes: int = 64,
    draws: int = 64,
    span: float = 12.0,
    seed: int = 0,
) -> Attribution:
    """Integrate over noise what each prompt adds to denoising, and split the information of two parts of a prompt.

    ``i(y; x) = 1/2 int E_e[(e(x_a) - e(x_a | y))^2] da`` ("orthogonal") or ``1/2 int E_e[(e - e(x_a))^2 - (e - e(x_a | y))^2]
    da`` ("direct"), cell by cell, with ``x_a = sqrt(sig(a)) x + sqrt(sig(-a)) e``. Redundancy ``r = min(i1, i2)``, unique ``u1
    = i1 - r``, ``u2 = i2 - r``, synergy ``s = i12 - i1 - i2 + r``.

    Parameters
    ----------
    denoiser : callable
        (noisy [m, ...], log-SNR [m], condition) -> expected noise [m, ...].
    x : Tensor[n, ...]
        Pictures.
    prompts : sequence of 4
        Conditions [n, ...] (or None) for the denoiser: without both words, with the first, with the second, with both. With
        the rest of the prompt in all four, the atoms are conditional on it.
    form : {"orthogonal", "direct"}
        Equal on average over pictures drawn from the model; "orthogonal" varies less and is never negative, "direct" is the
        log ratio log p(x | y) / p(x) of each picture.
    nodes, draws : int
        Gauss-Legendre nodes of the log-SNR, and draws of noise at each (in pairs of opposite sign, the same for all prompts).
    span : float, default 12.0
        The log-SNR goes from -span to span.
    seed : int, default 0

    Returns
    -------
    Attribution
        ``values`` [n, 4, ...]: the atoms in the order of ``ATOMS``, nats; ``output`` the information of both words.
        ``settings["edge"]``: largest integrand at the two ends, as a share of the largest: what the span cuts off.

    Raises
    ------
    UsageError, ShapeError, NonFinite

    Notes
    -----
    Null: a denoiser that ignores its condition gives exactly 0; one trained on shuffled labels gives its error.
    Misleads when the redundancy is read as the paper's: theirs (specificity less ambiguity) could not be verified, the minimum
    is one of several. Cell by cell it is below the minimum of the sums.

    Examples
    --------
    >>> from microtome.stimuli.mixtures import Mixture
    >>> four = Mixture(torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]]), 0.25)
    >>> x, k = four.draw(20, seed=0)
    >>> first = k[:, None] // 2 == torch.arange(4) // 2  # the first word says the sign of the first unit
    >>> second = k[:, None] % 2 == torch.arange(4) % 2
    >>> found = diffusion_pid(four, x, (None, first, second, first & second), nodes=32, draws=32)
    >>> (10 * found.values.mean(0)).round().abs().tolist()  # about ln 2 of each word, in its own unit
    [[0.0, 0.0], [6.0, 0.0], [0.0, 6.0], [0.0, 0.0]]

    References
    ----------
    Dewan, Zawar, Saxena, Chang, Luo, Bisk (2024). DiffusionPID: Interpreting Diffusion via Partial Information Decomposition.
    https://arxiv.org/abs/2406.05191
    Kong, Liu, Neiswanger, Ver Steeg (2024). Interpretable Diffusion via Information Decomposition.
    https://arxiv.org/abs/2310.07972
    """
    if len(prompts) != 4:
        raise UsageError(f"prompts are four: without both words, with the first, the second, both; got {len(prompts)}.")
    (first, second, both), edge = information(
        denoiser, x, prompts[0], prompts[1:], form=form, nodes=nodes, draws=draws, span=span, seed=seed
    )
    shared = torch.minimum(first, second)
    atoms = torch.stack([shared, first - shared, second - shared, both - first - second + shared], dim=1)
    total = both.flatten(1).sum(1)
    known = {2: ("unit",), 3: ("channel", "time"), 4: ("channel", "y", "x")}
    axes = known.get(x.ndim, tuple(f"axis{i}" for i in range(1, x.ndim)))
    return Attribution(
        atoms, ("batch", "atom", *axes), "input", f"diffusion pid ({form})", total, torch.zeros_like(total),
        4 * nodes * draws, settings={"form": form, "nodes": nodes, "draws": draws, "span": span, "edge": edge},
    )  # fmt: skip


def information(
    denoiser: Denoiser,
    x: Tensor,
    without: Any,
    given: Sequence[Any],
    *,
    form: Form = "orthogonal",
    nodes: int = 64,
    draws: int = 64,
    span: float = 12.0,
    seed: int = 0,
) -> tuple[list[Tensor], float]:
    """``i(y; x | without)`` [n, ...] for each condition in `given`, and how much of the integrand is left at the ends."""
    counted("nodes", nodes)
    counted("draws", draws, 2)
    if form not in ("orthogonal", "direct"):
        raise UsageError(f'form must be "orthogonal" or "direct", got {form!r}.')
    if not span > 0:
        raise UsageError(f"span must be above 0, got {span!r}.")
    if x.ndim < 2 or len(x) == 0 or not torch.is_floating_point(x):
        raise ShapeError(f"pictures must be a tensor of numbers [n, ...] with n > 0, got {list(x.shape)} of {x.dtype}.")
    pairs = (draws + 1) // 2
    repeated = [None if c is None else c.repeat(2 * pairs, *[1] * (c.ndim - 1)) for c in (without, *given)]
    total, sizes = [torch.zeros_like(x) for _ in given], []
    places, weights = gauss_legendre(nodes)
    for number, (place, weight) in enumerate(zip(places, weights)):
        a = torch.full((2 * pairs * len(x),), float((2 * place - 1) * span), dtype=x.dtype, device=x.device)
        half = torch.randn(pairs, *x.shape, generator=torch_rng(seed, "noise", number), dtype=x.dtype)
        noise = torch.cat([half, -half]).flatten(0, 1).to(x.device)
        s = torch.sigmoid(a).view(-1, *[1] * (x.ndim - 1))
        noisy = s.sqrt() * x.repeat(2 * pairs, *[1] * (x.ndim - 1)) + (1 - s).sqrt() * noise
        with torch.no_grad():
            base, *others = (denoiser(noisy, a, c) for c in repeated)
        here = 0.0
        for one, other in zip(total, others):
            gain = (base - other).square() if form == "orthogonal" else (noise - base).square() - (noise - other).square()
            mean = 0.5 * gain.view(2 * pairs, *x.shape).mean(0)
            one += 2 * span * float(weight) * mean
            here = max(here, float(mean.abs().mean()))
        sizes.append(here)
    if not all(torch.isfinite(one).all() for one in total):
        raise NonFinite("the denoiser gives NaN or infinity at some noise level; lower span.")
    return total, max(sizes[0], sizes[-1]) / max(max(sizes), 1e-30)
