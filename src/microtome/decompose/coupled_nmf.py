"""Non-negative parts of several sites at once, with one set of codes."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.data import precision_of, require_count, survey
from microtome.decompose.judge import reconstruction
from microtome.decompose.nmf import NonNegativeParts
from microtome.errors import Degenerate, UsageError
from microtome.method import Paper, method
from microtome.rng import torch_rng
from microtome.subject.basis_stored import check_width
from microtome.subject.recording.join import joined

#: Added to denominators; blocks have a mean square of 1 per row.
FLOOR = 1e-12


class CoupledParts(NonNegativeParts):
    """One code ``z >= 0`` for several sites side by side: minimises ``sum_l ||x_l - z O_l||^2 w_l^2``.

    Parameters
    ----------
    site : str
        "a+b+...".
    sites, widths : sequences
        The sites and their widths.
    parts : Tensor[dim, d]
        In the units of the sites times `weights`.
    weights : Tensor[d]
        What each unit is multiplied by before it is read: 1 over the norm of its site.

    Examples
    --------
    >>> both = CoupledParts("a+b", sites=["a", "b"], widths=[1, 1], parts=torch.eye(2), weights=torch.tensor([1.0, 0.5]))
    >>> {site: part.tolist() for site, part in both.by_site().items()}
    {'a': [[1.0], [0.0]], 'b': [[0.0], [2.0]]}
    """

    kind = "coupled_nmf"

    def __init__(
        self, site: str, *, sites: Sequence[str], widths: Sequence[int], parts: Tensor, weights: Tensor,
        name: str = "coupled_nmf", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        self.sites, self.widths = tuple(sites), tuple(int(w) for w in widths)
        self.weights = weights.detach().contiguous()
        super().__init__(site, parts, name=name, names=names, subject=subject)

    @property
    def directions(self) -> Tensor:
        return self.parts / self.weights

    def by_site(self) -> dict[str, Tensor]:
        """The units of each site that respond to each part, [dim, units]."""
        return dict(zip(self.sites, self.directions.split(self.widths, 1)))

    def encode(self, x: Tensor) -> Tensor:
        """Non-negative least squares, every site weighted alike."""
        check_width(x, self.width, f"basis '{self.name}' at '{self.site}'")
        wide = torch.promote_types(x.dtype, torch.float32)
        return super().encode(x.to(wide) * self.weights.to(x.device, wide)).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z) / self.weights.to(z)

    def tensors(self) -> dict[str, Tensor]:
        return {"parts": self.parts, "weights": self.weights}

    def config(self) -> dict[str, Any]:
        return {"sites": list(self.sites), "widths": list(self.widths)}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "CoupledParts":
        return cls(about.pop("site"), **tensors, **config, **about)


@method(
    question="decompose",
    paper=Paper("Saini, Papalexakis", 2018, "A Peek Into the Hidden Layers of a Convolutional Neural Network Through a "
                "Factorization Lens", "https://arxiv.org/abs/1806.02012"),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * rows * sum of widths * components), the rows held in memory",
    claim="Inputs and layers of a trained network factor into few shared concepts; bad training needs more rank.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Uniqueness, nor that the network uses a part: compare starts, and steer.",
    tiny={"components": 6, "steps": 300},
)  # fmt: skip
def coupled_nmf(
    recording: Any, *, sites: Sequence[str] | None = None, components: int = 20, decay: float = 0.0, sparsity: float = 0.0,
    steps: int = 300, seed: int = 0,
) -> CoupledParts:  # fmt: skip
    """Factor several non-negative sites into parts that share their codes, so that a concept is seen in all of them.

    Minimises ``sum_l ||A_l - F O_l||^2 + decay (||F||^2 + sum_l ||O_l||^2) + 2 sparsity sum F`` over ``F, O_l >= 0``, each
    A_l first scaled to one norm, by multiplicative updates, which never raise it.

    Parameters
    ----------
    recording : Recording
        Sites without negative values, recorded together; the images themselves may be one (``Recording.of``).
    sites : sequence of str, optional
        Default: all of the recording.
    components : int
        Number of parts. Default 20. Paper: 10 to 40.
    decay, sparsity : float
        Weights of the penalties. Default 0. The paper shrinks the parts only, which codes can undo.
    steps : int
        Updates of both factors. Default 300.
    seed : int
        Of the random start. Default 0.

    Returns
    -------
    CoupledParts
        A basis of the joined site; ``by_site()`` shows a part in every site; `metrics` (fit/SITE: share of the sum of
        squares), ``history["loss"]``.

    Raises
    ------
    UsageError
        When there are fewer than two sites, one holds negative values, or a penalty is negative.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary, or a site is 0 everywhere.

    Notes
    -----
    Null: a network before training, and one trained on shuffled labels: its parts follow the pixels, not the classes.
    Misleads when ranks of networks of different widths are compared, or one start is read as the answer.

    Examples
    --------
    >>> from microtome.subject.recording import Recording
    >>> z = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    >>> both = coupled_nmf(Recording.of({"a": z @ torch.eye(2, 3), "b": 5 * z[:, :1]}), components=2)
    >>> both.site, both.metrics["fit/a"] > 0.99, both.by_site()["b"].shape
    ('a+b', True, torch.Size([2, 1]))

    References
    ----------
    Saini, Papalexakis (2018). A Peek Into the Hidden Layers of a Convolutional Neural Network Through a Factorization Lens.
    https://arxiv.org/abs/1806.02012
    Lee, Seung (2001). Algorithms for Non-negative Matrix Factorization.
    """
    if not (decay >= 0 and sparsity >= 0 and isinstance(steps, int) and steps >= 1):
        raise UsageError(f"decay and sparsity must be >= 0 and steps >= 1, got {decay}, {sparsity}, {steps}.")
    chosen = [str(s) for s in recording.sites] if sites is None else list(sites)
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise UsageError(f"at least two different sites recorded together are needed, got {chosen}; nmf takes one.")
    together = joined(recording, chosen)
    found = survey(together)
    if found.minimum < 0:
        raise UsageError(
            f"coupled_nmf needs values >= 0, '{found.site}' goes down to {found.minimum:.4g}: take sites after a ReLU."
        )
    count = require_count(components, found.rows, "components")
    widths = [prod(recording[site].shape[1:]) for site in chosen]
    x = together.matrix().double()
    weights = []
    for site, block in zip(chosen, x.split(widths, 1)):
        norm = float(block.square().sum().sqrt())
        if not norm > 0:
            raise Degenerate(f"'{site}' is 0 on all {len(x)} rows: it has nothing to share. Leave it out.")
        weights.append(x.new_full((block.shape[1],), len(x) ** 0.5 / norm))
    scale = torch.cat(weights)
    codes, parts, loss = factorise(x * scale, count, decay, sparsity, steps, seed)
    order = (codes.mean(0) * parts.norm(dim=1)).argsort(descending=True, stable=True)
    parts = parts[order] / parts[order].norm(dim=1, keepdim=True).clamp_min(torch.finfo(parts.dtype).tiny)
    like = precision_of(together)
    about = {"sites": chosen, "widths": widths, "subject": found.subject}
    basis = CoupledParts(found.site, parts=parts.to(like), weights=scale.to(like), **about)
    basis.metrics = reconstruction(together, basis) | _fits(x, basis)
    basis.history = {"loss": loss}
    return basis


def factorise(
    x: Tensor, components: int, decay: float, sparsity: float, steps: int, seed: int
) -> tuple[Tensor, Tensor, list[float]]:
    """Codes [n, R], parts [R, d] and the objective after each update of both (Lee & Seung, with penalties).

    ``H <- H (F^T X) / (F^T F H + decay H)``, ``F <- F (X H^T) / (F H H^T + decay F + sparsity)``.
    """
    g = torch_rng(seed, "decompose", "coupled_nmf")
    size = float((x.mean() / components).sqrt())
    codes, parts = (size * (0.5 + torch.rand(shape, generator=g, dtype=torch.float64)).to(x)
                    for shape in ((len(x), components), (components, x.shape[1])))  # fmt: skip
    whole, loss = float(x.square().sum()), []
    for _ in range(steps):
        parts = parts * (codes.T @ x) / (codes.T @ codes @ parts + decay * parts + FLOOR)
        gram, cross = parts @ parts.T, x @ parts.T
        codes = codes * cross / (codes @ gram + decay * codes + sparsity + FLOOR)
        error = whole - 2 * (codes * cross).sum() + ((codes.T @ codes) * gram).sum()
        penalty = decay * (codes.square().sum() + parts.square().sum()) + 2 * sparsity * codes.sum()
        loss.append(float(error + penalty))
    return codes, parts, loss


def _fits(x: Tensor, basis: CoupledParts) -> dict[str, float]:
    """Share of each site's sum of squares that its parts rebuild."""
    rebuilt = basis.decode(basis.encode(x))
    pairs = zip(basis.sites, x.split(basis.widths, 1), rebuilt.split(basis.widths, 1))
    return {f"fit/{site}": float(1 - (a - b).square().sum() / a.square().sum()) for site, a, b in pairs}
