"""LaTIM: latent token-to-token interactions, as vectors."""

from typing import Any, Literal

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.mixers.gated_linear import Split
from microtome.attribute.mixers.layers import at, layers, mixing, recorded
from microtome.attribute.mixers.mixing import Mixing, closeness, norms, rollout, shares
from microtome.attribute.mixers.reading import read_maps
from microtome.attribute.mixers.residual import resid_sites, with_stream
from microtome.errors import UsageError
from microtome.method import Paper, method

SCORES = ("l1", "l2", "alti")


@method(
    question="attribute",
    paper=Paper("Pitorro, Treviso", 2025, "LaTIM: Measuring Latent Token-to-Token Interactions in Mamba Models",
                "https://arxiv.org/abs/2502.15612"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, layers * channels * positions^2 * states",
    claim="Vectors that tokens add to each other tell which source an output was copied from better than Mamba's attention.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That an output needs the token: a long vector may be cancelled by others or ignored later.",
)  # fmt: skip
def latim(
    subject: Any,
    task: Any,
    *,
    score: Literal["l1", "l2", "alti"] = "l2",
    split: Split = "activation",
    layer: int | None = None,
    metric: str | None = None,
) -> Attribution:
    """Split a mixer's output into one vector per token and measure each.

    ``y_i = sum_j T_i(x_j)``, ``T_i(x_j) = sum_c gate_ic sum_k S_c[i, k] u_k<-j,c W_c``; with ``u_k<-j = f(w_{k-j} x_j)``, or
    exactly ``u_k<-j = (f(c_k) / c_k) w_{k-j} x_j``. Scores: ``|T_i(x_j)|_p``, or ``max(0, |y_i|_1 - |y_i - T_i(x_j)|_1)``
    as shares over j.

    Parameters
    ----------
    subject : Subject
        Mamba, Mamba-2, RWKV-4, RG-LRU (Griffin); attention too, where it is the length of value-weighted attention.
    task : Task
        Its metric says which position is read.
    score : {"l1", "l2", "alti"}
        How vectors become numbers.
    split : {"activation", "gate"}
        How the activation behind the convolution is shared between its taps: on every tap by itself (the paper's choice; the
        parts then miss the output), or held at its value (exact).
    layer : int, optional
        One layer alone, without the residual stream; default all of them rolled out, with it.
    metric : str, optional
        Default: the task's. The map does not depend on it.

    Returns
    -------
    Attribution
        Non-negative, over the positions of the layer's input (of the embeddings when rolled out). In one layer l1 and l2 are
        lengths; otherwise rows add up to 1.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: recent tokens are strong in a random network as well. Compare with `subject.twin()`.
    Misleads when it is read as a map of the input in a deep layer: a position there already holds others.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = latim(planted.subject, planted.task, layer=planted.block)
    >>> bool((found.values.argmax(1) == planted.position).all())
    True

    References
    ----------
    Pitorro, Treviso (2025). LaTIM: Measuring Latent Token-to-Token Interactions in Mamba Models.
    https://arxiv.org/abs/2502.15612
    """
    if score not in SCORES:
        raise UsageError(f"score must be one of {SCORES}, got {score!r}.")
    if split not in ("activation", "gate"):
        raise UsageError(f'split must be "activation" or "gate", got {split!r}.')
    chosen = layers(subject) if layer is None else [at(subject, layer)]
    sites = [s for one in chosen for s in (*recorded(subject, one), *resid_sites(subject, one))]

    def maps(values: dict[str, Tensor], _slopes: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        found = [mixing(subject, one, values, mask, split) for one in chosen]
        if layer is not None:
            return token_scores(found[0], score)
        return rollout([shares(scored(*with_stream(subject, one, m, values), score)) for one, m in zip(chosen, found)])

    return read_maps(subject, task, maps, name=f"latim {score}", sites=list(dict.fromkeys(sites)), metric=metric,
                     site=None if layer is None else chosen[0].input,
                     settings={"score": score, "split": split, "layer": layer})  # fmt: skip


def token_scores(mixed: Mixing, score: str) -> Tensor:
    """Scores [n, position, source] of all pairs of tokens in one layer; `score` as in `latim`."""
    return scored(mixed.parts(), mixed.out, score)


def scored(parts: Tensor, total: Tensor, score: str) -> Tensor:
    """One number per part: its length, or how much nearer to the total it brings."""
    return closeness(parts, total) if score == "alti" else norms(parts, 1.0 if score == "l1" else 2.0)
