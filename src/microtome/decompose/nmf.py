"""Non-negative parts of a non-negative site."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.data import Survey, precision_of, require_count, survey
from microtome.decompose.judge import reconstruction
from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.rng import derive
from microtome.subject.basis import StoredBasis, check_width

#: Iterations of the accelerated projected gradient in `encode`; fixed, so that a row's code depends on that row only.
ENCODE_STEPS = 400


class NonNegativeParts(StoredBasis):
    """Codes ``z >= 0`` that minimise ``||x - z H||^2`` for fixed parts H (>= 0 from `nmf`, of either sign from `snmf`
    and `semi_nmf`); ``decode(z) = z H``.

    Parameters
    ----------
    site : str
        Where the coordinates live.
    parts : Tensor[dim, d]
        H.
    """

    kind = "nmf"

    def __init__(
        self, site: str, parts: Tensor, *, name: str = "nmf", names: list[str] | None = None, subject: str = ""
    ) -> None:
        self.parts = parts.detach().contiguous()
        self.width = parts.shape[1]
        super().__init__(site, name=name, names=names, subject=subject)

    @property
    def dim(self) -> int:
        return self.parts.shape[0]

    @property
    def directions(self) -> Tensor:
        return self.parts

    def encode(self, x: Tensor) -> Tensor:
        """Non-negative least squares by accelerated projected gradient, all rows at once."""
        check_width(x, self.width, f"basis '{self.name}' at '{self.site}'")
        wide = torch.promote_types(x.dtype, torch.float32)
        # A fresh copy: bits of a product depend on alignment, and a memory-mapped row may have any.
        rows, parts = x.to(wide, copy=True), self.parts.to(x.device, wide)
        gram, target = parts @ parts.T, rows @ parts.T
        # Jacobi scaling makes the parts comparable; the largest eigenvalue bounds the step.
        scale = gram.diagonal().clamp_min(torch.finfo(gram.dtype).tiny).sqrt()
        gram, target = gram / scale / scale[:, None], target / scale
        step = 1 / torch.linalg.eigvalsh(gram)[-1].clamp_min(torch.finfo(gram.dtype).tiny)
        z = y = torch.zeros_like(target)
        momentum = 1.0
        for _ in range(ENCODE_STEPS):
            new = (y - step * (y @ gram - target)).relu()
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            # Restart row by row where the momentum points uphill (O'Donoghue & Candes 2015).
            uphill = ((y - new) * (new - z)).sum(-1, keepdim=True) > 0
            y = new + torch.where(uphill, 0.0, (momentum - 1) / following) * (new - z)
            z, momentum = new, following
        return (z / scale).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        check_width(z, self.dim, f"decode of basis '{self.name}'")
        return z @ self.parts.to(z)

    def tensors(self) -> dict[str, Tensor]:
        return {"parts": self.parts}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "NonNegativeParts":
        return cls(about.pop("site"), tensors["parts"], **about)


@method(
    question="decompose",
    paper=Paper("Lee & Seung", 1999, "Learning the parts of objects by non-negative matrix factorization",
                "https://doi.org/10.1038/44565"),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * rows * d * components), the rows held in memory",
    claim="Non-negative factors are parts that add up, where principal components cancel each other.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Uniqueness: other factors can fit as well (compare seeds).",
    tiny={"components": 6, "steps": 200},
)  # fmt: skip
def nmf(recording: Any, *, components: int = 32, steps: int = 400, seed: int = 0) -> NonNegativeParts:
    """Factor a non-negative site into non-negative parts.

    ``X ~ Z H`` with ``Z, H >= 0``, minimising ``||X - Z H||_F^2``; new rows are encoded by non-negative least squares.

    Parameters
    ----------
    recording : Recording
        One site without negative values: after a ReLU, or the attention pattern.
    components : int
        Number of parts. Default 32.
    steps : int
        Iterations of coordinate descent at most. Default 400.
    seed : int
        For the randomised start (NNDSVDar). Default 0.

    Returns
    -------
    NonNegativeParts
        Rows of norm 1, most used first.

    Raises
    ------
    UsageError
        When the site holds negative values, or there are more components than rows.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on samples permuted per coordinate the parts shrink to single units.
    Misleads when components is above the rank: surplus parts are copies or noise.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> basis = nmf(Recording.of(x, site="hidden"), components=2)
    >>> basis.dim, basis.metrics["fvu"] < 0.01
    (2, True)

    References
    ----------
    Lee & Seung (1999). Learning the parts of objects by non-negative matrix factorization.
    https://doi.org/10.1038/44565
    """
    from sklearn.decomposition import NMF

    found = survey(recording)
    _require_non_negative(found)
    count = require_count(components, found.rows, "components")
    x = recording.matrix().double().cpu().numpy()
    start = "nndsvdar" if count <= min(x.shape) else "random"
    model = NMF(count, init=start, max_iter=steps, random_state=derive(seed, "nmf") % 2**32)
    codes = model.fit_transform(x)
    norms = np.linalg.norm(model.components_, axis=1)
    order = np.argsort(-(codes.mean(0) * norms), kind="stable")
    rows = model.components_[order] / np.maximum(norms[order], np.finfo(float).tiny)[:, None]
    parts = torch.from_numpy(np.ascontiguousarray(rows)).to(precision_of(recording))
    basis = NonNegativeParts(found.site, parts, subject=found.subject)
    basis.metrics = reconstruction(recording, basis)
    return basis


def _require_non_negative(found: Survey) -> None:
    """Refuse a site with negative values and name what would take it."""
    if found.minimum < 0:
        raise UsageError(
            f"nmf needs values >= 0, '{found.site}' goes down to {found.minimum:.4g}. Record a site after a ReLU "
            "(blocks.N.mlp.hidden), or use pca, ica or topk_sae, which take either sign."
        )
