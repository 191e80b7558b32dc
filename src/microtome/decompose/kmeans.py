"""k-means: each row is one centre."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.data import precision_of, require_count, survey
from microtome.decompose.judge import reconstruction
from microtome.method import Paper, method
from microtome.rng import derive
from microtome.subject.basis import StoredBasis, check_width


class Centres(StoredBasis):
    """One-hot codes: coordinate k is 1 where centre k is the nearest; ``decode(z) = z C``.

    Parameters
    ----------
    site : str
        Where the coordinates live.
    centres : Tensor[dim, d]
        C.
    """

    kind = "kmeans"

    def __init__(
        self, site: str, centres: Tensor, *, name: str = "kmeans", names: list[str] | None = None, subject: str = ""
    ) -> None:
        self.centres = centres.detach().contiguous()
        self.width = centres.shape[1]
        super().__init__(site, name=name, names=names, subject=subject)

    @property
    def dim(self) -> int:
        return self.centres.shape[0]

    @property
    def directions(self) -> Tensor:
        return self.centres

    def assign(self, x: Tensor) -> Tensor:
        """Index of the nearest centre of each row."""
        check_width(x, self.width, f"basis '{self.name}' at '{self.site}'")
        # In float64, so that two nearly equal distances are told apart in the same way at any batch size.
        c = self.centres.to(x.device).double()
        return (c.square().sum(1) - 2 * (x.double() @ c.T)).argmin(-1)

    def encode(self, x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(self.assign(x), self.dim).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        check_width(z, self.dim, f"decode of basis '{self.name}'")
        return z @ self.centres.to(z)

    def tensors(self) -> dict[str, Tensor]:
        return {"centres": self.centres}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "Centres":
        return cls(about.pop("site"), tensors["centres"], **about)


@method(
    question="decompose",
    paper=Paper("Lloyd", 1982, "Least squares quantization in PCM", "https://doi.org/10.1109/TIT.1982.1056489"),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * rows * d * components), the rows held in memory",
    claim="One prototype per row: the baseline that a code of several features must beat.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That there are clusters: any cloud of points is cut into as many as are asked for.",
    tiny={"components": 24, "steps": 50},
)
def kmeans(recording: Any, *, components: int = 32, steps: int = 300, seed: int = 0) -> Centres:
    """Give every row its nearest of K centres.

    Minimises ``sum_n ||x_n - c_(k(n))||^2`` over centres c and assignments k.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, d]``.
    components : int
        Number of centres, at most the number of rows. Default 32.
    steps : int
        Iterations at most. Default 300.
    seed : int
        For the start (k-means++). Default 0.

    Returns
    -------
    Centres
        Largest cluster first; codes are one-hot.

    Raises
    ------
    UsageError
        When there are more centres than rows.
    NonFinite
        When the recording holds NaN or infinity.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on samples permuted per unit the centres explain hardly more than those of a random partition.
    Misleads when clusters are long or of unequal size: they are cut into round pieces.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> x = torch.tensor([[0.0, 1.0], [0.0, 1.2], [5.0, 5.0]])
    >>> kmeans(Recording.of(x, site="hidden"), components=2).encode(x).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]

    References
    ----------
    Lloyd (1982). Least squares quantization in PCM. https://doi.org/10.1109/TIT.1982.1056489
    """
    found = survey(recording)
    count = require_count(components, found.rows, "components")
    centres = lloyd(recording, count, steps=require_count(steps, 10**9, "steps"), seed=seed)
    basis = Centres(found.site, centres.to(precision_of(recording)), subject=found.subject)
    basis.metrics = reconstruction(recording, basis)
    return basis


def lloyd(recording: Any, components: int, *, steps: int = 300, seed: int = 0) -> Tensor:
    """Centres [components, d] in float64, largest cluster first."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    x = recording.matrix().double().cpu().numpy()
    model = KMeans(components, n_init=1, max_iter=steps, random_state=derive(seed, "kmeans") % 2**32)
    with warnings.catch_warnings():
        # Fewer distinct rows than centres: the copies are harmless and show as dead coordinates.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit_predict(x)
    counts = np.bincount(labels, minlength=components)
    order = np.argsort(-counts, kind="stable")
    return torch.from_numpy(np.ascontiguousarray(model.cluster_centers_[order]))
