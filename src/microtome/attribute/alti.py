"""ALTI: contributions of tokens to the output of each attention block, as vectors, rolled out."""

from typing import Any, Literal

from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.mixers.layers import layers, mixing, recorded
from microtome.attribute.mixers.mixing import closeness, rollout
from microtome.attribute.mixers.reading import read_maps
from microtome.attribute.mixers.residual import resid_sites, with_stream
from microtome.errors import UsageError
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper("Ferrando, Gállego, Costa-jussà", 2022, "Measuring the Mixing of Contextual Information in the Transformer",
                "https://arxiv.org/abs/2203.04212"),
    needs=("subject", "task"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, layers * positions^2 * width",
    claim="How near a token's vector brings the block to its output tells input tokens that matter better than attention does.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That an output needs the token: contributions are to hidden states, not to a logit; MLPs are taken to keep "
    "tokens apart.",
)  # fmt: skip
def alti(subject: Any, task: Any, *, p: Literal[1, 2] = 1, metric: str | None = None) -> Attribution:
    """Split the output of each attention block into one vector per token, residual stream included, and roll out.

    ``y_i = sum_j T_i(x_j) + rest``, ``c_ij ~ max(0, |y_i|_p - |y_i - T_i(x_j)|_p)`` as shares over j, multiplied over the
    layers; the row of the position that is read.

    Parameters
    ----------
    subject : Subject
        Any network whose mixers are known: attention, Mamba, RWKV, gated linear recurrences. Norms behind the sum (BERT) are
        held at their scale.
    task : Task
        Its metric says which position is read.
    p : {1, 2}
        Norm (the paper's: 1).
    metric : str, optional
        Default: the task's. The map does not depend on it.

    Returns
    -------
    Attribution
        Non-negative, rows that add up to 1, over positions.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: the stream's share goes to the own position in a random network as well. Compare with `subject.twin()`.
    Misleads when one direction of the stream is far larger than all others: what is nearest is then what writes there.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = alti(planted.subject, planted.task)
    >>> found.axes, round(float(found.values.sum(1).mean()), 4)
    (('batch', 'position'), 1.0)

    References
    ----------
    Ferrando, Gállego, Costa-jussà (2022). Measuring the Mixing of Contextual Information in the Transformer.
    https://arxiv.org/abs/2203.04212
    """
    if p not in (1, 2):
        raise UsageError(f"p must be 1 or 2, got {p!r}.")
    chosen = layers(subject)
    sites = [s for one in chosen for s in (*recorded(subject, one), *resid_sites(subject, one))]

    def maps(values: dict[str, Tensor], _slopes: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        found = []
        for one in chosen:
            parts, total = with_stream(subject, one, mixing(subject, one, values, mask), values)
            found.append(closeness(parts, total, p))
        return rollout(found)

    return read_maps(subject, task, maps, name=f"alti l{p}", sites=list(dict.fromkeys(sites)), metric=metric, settings={"p": p})
