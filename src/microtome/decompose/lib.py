"""The Local Interaction Basis: coordinates of a layer that the next layer's coordinates depend on one by one."""

from collections.abc import Sequence
from typing import Any

from microtome.decompose.interaction import coordinates, moments
from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.basis import Basis, Linear


@method(
    question="decompose",
    paper=Paper("Bushnaq et al.", 2024, "The Local Interaction Basis: Identifying Computationally-Relevant and Sparsely "
                "Interacting Features in Neural Networks", "https://arxiv.org/abs/2405.10928"),
    needs=("subject", "gradients"),
    gives="Basis",
    stochastic=True,
    cost="one forward and as many backwards as the next layer has coordinates (or `probes`), and O(d^3)",
    claim="Fewer directions than principal components keep the accuracy, and they interact more sparsely.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="That directions are features: the paper itself found no gain on language models.",
    tiny={"probes": 24},
)  # fmt: skip
def lib(
    subject: Any, inputs: Any, *, at: str, onto: str | Basis, probes: int | None = None, cutoff: float = 1e-5, seed: int = 0
) -> Linear:
    """Find the directions of a layer that matter to the next, ranked by how much.

    With covariance ``G = U D U^T`` of the activations f and ``M = E[J^T J]``, ``J = d z_next / d f``:
    ``D^(1/2) U^T M U D^(1/2) = V Lambda V^T`` and ``z = (f - m) U D^(-1/2) V Lambda^(1/2)``.

    Parameters
    ----------
    subject : Subject
        In float64 where small directions matter: ``mt.Subject(module.double())``.
    inputs : Inputs, texts or tensor
        The data; without padding.
    at : str
        Site of the basis.
    onto : str or Basis
        The next layer: a site for the last layer, else its own basis, so that a network is done from the output
        backwards. A whole-space rotation there (the paper's principal components) changes nothing, so a site will do.
    probes : int, optional
        Random sign vectors in place of all outputs. Default None: exact. The paper's cost saver.
    cutoff : float
        Eigenvalues below this share of the largest are dropped. Default 1e-5 (paper: 1e-5, absolute).
    seed : int
        For the probes. Default 0.

    Returns
    -------
    Linear
        Most important first; ``history["importance"]`` is Lambda.

    Raises
    ------
    UsageError
        When `onto` is not downstream, inputs are padded, or `cutoff` or `probes` is out of range.
    SiteError
        When a site does not exist or never fired.
    Degenerate
        When the site does not vary, or nothing downstream depends on it.
    NonFinite
        When a value is NaN or infinite.

    Notes
    -----
    Null: in a network trained on shuffled labels nearly all directions matter, and little is gained over principal components.
    Misleads when a layer norm stands between the layers (its variance direction is mixed into all others), and when later
    layers ignore what the next layer keeps: only neighbours are looked at.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> first, second = torch.nn.Linear(3, 3, bias=False).double(), torch.nn.Linear(3, 1, bias=False).double()
    >>> first.weight.data, second.weight.data = torch.eye(3).double(), torch.tensor([[0.0, 2.0, 0.0]]).double()
    >>> x = torch.eye(3).double() * 3
    >>> basis = lib(Subject(torch.nn.Sequential(first, second)), x, at="0", onto="1")
    >>> basis.dim  # of three directions, one is read
    1

    References
    ----------
    Bushnaq et al. (2024). The Local Interaction Basis. https://arxiv.org/abs/2405.10928
    """
    moved = moments(subject, inputs, at, onto, probes=probes, seed=seed)
    return coordinates(subject.site(at).name, *moved, cutoff=cutoff, name="lib", subject=subject.fingerprint())


def interaction_stack(subject: Any, inputs: Any, sites: Sequence[str], *, cutoff: float = 1e-5) -> list[Linear]:
    """Local interaction bases of a chain of sites, built from the last (downstream) one backwards, in the order given."""
    if len(sites) < 2:
        raise UsageError(f"a chain has at least two sites, got {list(sites)}.")
    found: list[Linear] = []
    onto: Any = sites[-1]
    for at in reversed(list(sites)[:-1]):
        onto = lib(subject, inputs, at=at, onto=onto, cutoff=cutoff)
        found.append(onto)
    return found[::-1]
