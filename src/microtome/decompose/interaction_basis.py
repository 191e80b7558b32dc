"""The Interaction Basis: coordinates of a layer by their effect on the network's output."""

from typing import Any

from microtome.decompose.interaction import coordinates, moments
from microtome.method import Paper, method
from microtome.subject.basis import Linear


@method(
    question="decompose",
    paper=Paper("Bushnaq et al.", 2024, "Using Degeneracy in the Loss Landscape for Mechanistic Interpretability",
                "https://arxiv.org/abs/2405.10927"),
    needs=("subject", "gradients"),
    gives="Basis",
    stochastic=True,
    cost="one forward and as many backwards as there are outputs (or `probes`), and O(d^3)",
    claim="The basis does not change when an invertible matrix is inserted after a layer and undone before the next.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That single directions are features; where eigenvalues are nearly equal only their span is determined.",
    tiny={"probes": 24},
)  # fmt: skip
def interaction_basis(
    subject: Any, inputs: Any, *, at: str, probes: int | None = None, cutoff: float = 1e-6, seed: int = 0
) -> Linear:
    """Find the directions of a layer that matter to the output, ranked by how much.

    With covariance ``G = U D U^T`` of the activations f and ``K = E[sum_k g_k g_k^T]``, ``g_k = d output_k / d f``:
    ``D^(1/2) U^T K U D^(1/2) = V Lambda V^T`` and ``z = (f - m) U D^(-1/2) V Lambda^(1/2)``. `lib` is the same with the
    next layer's coordinates in place of the output.

    Parameters
    ----------
    subject : Subject
        In float64 where small directions matter: ``mt.Subject(module.double())``.
    inputs : Inputs, texts or tensor
        The data; without padding.
    at : str
        Site of the basis.
    probes : int, optional
        Random sign vectors in place of all outputs. Default None: exact.
    cutoff : float
        Eigenvalues below this share of the largest are dropped. Default 1e-6.
    seed : int
        For the probes. Default 0.

    Returns
    -------
    Linear
        Most important first; ``history["importance"]`` is Lambda, ``metrics`` the ranks of activations and interactions.

    Raises
    ------
    UsageError
        When inputs are padded, or `cutoff` or `probes` is out of range.
    SiteError
        When the site does not exist or never fired.
    Degenerate
        When the site does not vary, or the output does not depend on it.
    NonFinite
        When a value is NaN or infinite.

    Notes
    -----
    Null: principal components change with the inserted matrix; and a dense random network has no modules in this basis.
    Misleads when the cut-off stands inside a smooth spectrum: look at ``history["importance"]``, not only at the rank.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> layers = [torch.nn.Linear(3, 3, bias=False).double(), torch.nn.Linear(3, 2, bias=False).double()]
    >>> layers[0].weight.data, layers[1].weight.data = torch.eye(3).double(), torch.eye(3)[:2].double()
    >>> basis = interaction_basis(Subject(torch.nn.Sequential(*layers)), torch.eye(3).double(), at="0")
    >>> basis.dim  # one of the three directions never reaches the output
    2

    References
    ----------
    Bushnaq et al. (2024). Using Degeneracy in the Loss Landscape for Mechanistic Interpretability.
    https://arxiv.org/abs/2405.10927
    """
    moved = moments(subject, inputs, at, None, probes=probes, seed=seed)
    return coordinates(subject.site(at).name, *moved, cutoff=cutoff, name="interaction_basis", subject=subject.fingerprint())
