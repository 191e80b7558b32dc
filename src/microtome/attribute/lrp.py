"""Layer-wise relevance propagation."""

from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.attribute.backward import backward
from microtome.attribute.rules import Composite
from microtome.method import Paper, method


@method(
    question="attribute",
    paper=Paper(
        "Bach, Binder, Montavon, Klauschen, Müller, Samek", 2015,
        "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation",
        'https://doi.org/10.1371/journal.pone.0130140',
    ),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward",
    claim="Relevance is conserved from layer to layer: what arrives at the input adds up to the output, but for "
        "biases and stabilisers.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the rules are the network's: another composite gives another map, and equal functions can get "
        "different ones.",
)  # fmt: skip
def lrp(
    subject: Any,
    task: Any,
    *,
    at: str | None = None,
    composite: str | Composite = "epsilon_plus",
    metric: str | None = None,
) -> Attribution:
    """Pass the output back layer by layer, each unit to its inputs in proportion to their contributions.

    ``R_i = sum_j z_ij / sum_i z_ij R_j``, with ``z_ij`` by the rule of the layer: ``x_i w_ij`` (epsilon), its positive part
    (z+), two shares by sign (alpha-beta), ``x_i w_ij - low w_ij+ - high w_ij-`` (z-box), ``w_ij^2``, or 1 (flat).

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    composite : str or Composite, default epsilon_plus
        Which rule for which function: a name of ``rules.COMPOSITES`` ("epsilon", "epsilon_alpha2_beta1", "epsilon_gamma_box",
        "attn_lrp" for transformers, ...) or your own. Batch norms are folded into the layer before them in the backward pass.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution
        ``lost`` says per module where relevance went; ``residual`` what is missing in all.

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: relevance is conserved in a random network as well; conservation is no evidence. Compare with `subject.twin()`.
    Misleads when biases or cancelling contributions take most of the relevance: look at ``lost``. Rules of positive parts (z+,
    gamma) hardly depend on the upper layers, so their maps can survive the randomisation of those. LRP is described as
    patented; check before commercial use.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> for i in (0, 2):
    ...     net[i].weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> x = torch.tensor([[2.0, 1.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> [round(v, 3) for v in lrp(Subject(net), task, composite="epsilon").values[0].tolist()]
    [4.0, -2.0]

    References
    ----------
    Bach, Binder, Montavon, Klauschen, Müller, Samek (2015). On Pixel-Wise Explanations for Non-Linear Classifier
    Decisions by Layer-Wise Relevance Propagation.
    https://doi.org/10.1371/journal.pone.0130140
    """
    return backward(subject, task, composite, at=at, metric=metric, name="lrp")
