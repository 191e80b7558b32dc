"""Will the answer be right? Read from a causal variable that the network is known to use."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.method import Paper, method
from microtome.trace.alignment.basis import interchanged
from microtome.trace.alignment.data import ROWS, site_values
from microtome.trace.alignment.score import require_aligned
from microtome.trace.alignment.suffix import Suffix
from microtome.trace.correctness_scores import Correctness

PAPER = Paper("Huang, Tao, Icard, Yang, Potts", 2025, "Internal Causal Mechanisms Robustly Predict Language Model "
              "Out-of-Distribution Behaviors", "https://arxiv.org/abs/2505.11770")  # fmt: skip


@method(
    question="trace",
    paper=PAPER,
    needs=("subject", "tokens", "basis"),
    gives="Correctness (a Reading)",
    stochastic=False,
    cost="one forward of the inputs, then inputs * known forwards of what follows the site",
    claim="Whether a variable can be transplanted from an input tells whether the answer to it is right.",
    notion="post-hoc",
    serves="trust",
    cannot_claim="Errors that arise after the variable is computed.",
)
def counterfactual_simulation(
    subject: Any, inputs: Any, basis: Any, *, known: Any, labels: Tensor, variables: list[str] | None = None
) -> Correctness:
    """Transplant the variable of each input into inputs that the subject solves, and see whether these follow it.

    ``score(x) = mean_j log p(labels_xj | x_j, h_j + Q Q^T (h(x) - h_j))`` over known inputs x_j.

    Parameters
    ----------
    subject : Subject
    inputs : Tensor or Inputs
        n inputs to be judged.
    basis : Aligned
        Fitted in distribution, e.g. by `das`.
    known : Tensor or Inputs
        k in-distribution inputs that the subject solves.
    labels : LongTensor [n, k]
        What the causal model gives for known j with the variable set to its value in input x.
    variables : list of str, optional
        Default: all of the basis.

    Returns
    -------
    Correctness
        ``scores`` [n], ``auroc(correct)``, ``table``.

    Raises
    ------
    ShapeError, UsageError, SubjectMismatch
        Labels of another shape; inputs of another length; an alignment of another subject.
    NonFinite
        Values or logits are NaN.

    Notes
    -----
    Null: a random subspace of equal rank carries nothing over: its scores do not tell right from wrong.
    Misleads when the alignment is poor in distribution: check `interchange` first.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> from microtome.trace import AlignedLinear
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[3.0, 0], [-3.0, 0]]))
    >>> basis = AlignedLinear("0", torch.tensor([[1.0], [0.0]]), {"x": [0]})
    >>> x, known = torch.tensor([[1.0, 0], [-0.01, 0]]), torch.randn(4, 2)
    >>> labels = (x[:, :1] < 0).long().expand(2, 4)
    >>> scores = counterfactual_simulation(subject, x, basis, known=known, labels=labels).scores
    >>> bool(scores[0] > scores[1])
    True

    References
    ----------
    Huang, Tao, Icard, Yang, Potts (2025). Internal Causal Mechanisms Robustly Predict Language Model Out-of-Distribution
    Behaviors. https://arxiv.org/abs/2505.11770
    """
    targets, suffix, values = _read(subject, inputs, basis, known)
    n, k = len(targets), len(suffix.inputs)
    if tuple(labels.shape) != (n, k):
        raise ShapeError(f"labels must be [{n}, {k}], one for each input and known input, got {list(labels.shape)}.")
    chosen = variables or list(basis.blocks)
    basis.units(*chosen)
    found = torch.empty(n * k, dtype=torch.double)
    wanted = labels.reshape(-1).to(suffix.logits.device)
    with torch.no_grad():
        for part in torch.arange(n * k).split(ROWS):
            target, row = part // k, part % k
            always = dict.fromkeys(chosen, torch.ones(len(part), dtype=torch.bool, device=values.device))
            new = interchanged(basis, suffix.values[row], dict.fromkeys(chosen, values[target]), always)
            logp = suffix(new, row).double().log_softmax(-1)
            found[part] = logp.gather(1, wanted[part][:, None])[:, 0].cpu()
    scores = found.view(n, k).mean(1).numpy()
    return Correctness(scores, "counterfactual simulation", subject.fingerprint(), f"{n} inputs, {k} known")


@method(
    question="trace",
    paper=PAPER,
    needs=("subject", "tokens", "basis"),
    gives="Correctness (a Reading)",
    stochastic=False,
    cost="one forward of inputs and known inputs up to the site, and a linear classifier",
    claim="The confidence of a probe on the causal subspace predicts correctness where output confidence does not.",
    notion="post-hoc",
    serves="trust",
    cannot_claim="That the value read is used for this input.",
    tiny={"penalty": 10.0},
    skips={"null": "a random network's embeddings hold the value too: it can be read where it is not used"},
)
def value_probing(
    subject: Any, inputs: Any, basis: Any, *, known: Any, values: Any, variables: list[str] | None = None,
    penalty: float = 1.0,
) -> Correctness:  # fmt: skip
    """Read the variable's value from its subspace with a linear classifier; its confidence is the score.

    ``score(x) = max_v log softmax(W Q^T h(x) + b)_v``, with W and b fitted on in-distribution inputs and their values.

    Parameters
    ----------
    subject : Subject
    inputs : Tensor or Inputs
        n inputs to be judged; their values are not needed.
    basis : Aligned
    known : Tensor or Inputs
        k in-distribution inputs.
    values : array_like [k]
        The variable's value (or the values of several, as one class) in each known input.
    variables : list of str, optional
        Default: all of the basis.
    penalty : float, default 1.0
        Inverse strength of the classifier's L2 penalty.

    Returns
    -------
    Correctness

    Raises
    ------
    ShapeError, UsageError, SubjectMismatch
        Values of another length; an alignment of another subject.
    Degenerate
        Only one value among the known inputs.
    NonFinite
        Values or logits are NaN.

    Notes
    -----
    Null: on a random subspace the confidence says little about correctness.
    Misleads when inputs are far from the known ones: a linear classifier grows confident with distance.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> from microtome.trace import AlignedLinear
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2)))
    >>> basis = AlignedLinear("0", torch.tensor([[1.0], [0.0]]), {"x": [0]})
    >>> known = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.tensor([[2.0, 0], [0.01, 0]])
    >>> scores = value_probing(subject, x, basis, known=known, values=known[:, 0] > 0).scores
    >>> bool(scores[0] > scores[1])
    True

    References
    ----------
    Huang, Tao, Icard, Yang, Potts (2025). Internal Causal Mechanisms Robustly Predict Language Model Out-of-Distribution
    Behaviors. https://arxiv.org/abs/2505.11770
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    targets, suffix, there = _read(subject, inputs, basis, known)
    classes = np.asarray(values)
    if len(classes) != len(suffix.inputs):
        raise ShapeError(f"values must be [{len(suffix.inputs)}], one for each known input, got {list(classes.shape)}.")
    if len(np.unique(classes)) < 2:
        raise Degenerate("the variable has one value in all known inputs: there is nothing to tell apart.")
    units = basis.units(*(variables or ()))
    z, new = (basis.encode(x)[..., units].flatten(1).double().cpu().numpy() for x in (suffix.values, there))
    scale = StandardScaler().fit(z)
    probe = LogisticRegression(C=penalty, max_iter=2000).fit(scale.transform(z), classes)
    scores = probe.predict_log_proba(scale.transform(new)).max(1)
    return Correctness(scores, "value probing", subject.fingerprint(), f"{len(targets)} inputs, {len(z)} known")


def _read(subject: Any, inputs: Any, basis: Any, known: Any) -> tuple[Any, Suffix, Tensor]:
    """Inputs, the suffix on the known inputs, and the inputs' values at the site."""
    require_aligned(basis, subject)
    targets, base = subject.inputs(inputs), subject.inputs(known)
    if targets.main.shape[1:] != base.main.shape[1:]:
        raise ShapeError(
            f"inputs {list(targets.main.shape)} and known inputs {list(base.main.shape)} must have equal length, or cells "
            "would not correspond."
        )
    if not len(targets) or not len(base):
        raise UsageError("there are no inputs, or no known inputs.")
    suffix = Suffix(subject, base, basis.site, basis.position)
    return targets, suffix, site_values(subject, targets, suffix, basis.position)
