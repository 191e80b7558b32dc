"""Does a subspace patch work through directions that the network uses, or through a pathway that is normally dormant?"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, SiteError, UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import torch_rng
from microtome.subject.architecture import submodule
from microtome.trace.alignment.data import Prepared, prepare
from microtome.trace.alignment.score import require_aligned

#: Singular values below this share of the largest count as zero.
RANK = 1e-5


@method(
    question="trace",
    paper=Paper("Makelov, Lange, Nanda", 2023, "Is This the Subspace You Are Looking for? An Interpretability Illusion for "
                "Subspace Activation Patching", "https://arxiv.org/abs/2311.17030"),
    needs=("subject", "task", "basis"),
    gives="Finding",
    stochastic=True,
    cost="one forward of base and sources, then one of what follows the site per patch and random direction",
    claim="A patched direction can flip the output by way of a dormant direction, and its row-space part then does nothing.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That a direction which passes is the one that the network computes.",
    tiny={"random": 9},
)  # fmt: skip
def subspace_illusion(
    subject: Any, pairs: Any, basis: Any, *, readout: str | Tensor, keep: float = 0.5, dormant: float = 0.1, random: int = 19,
    seed: int = 0,
) -> Finding:  # fmt: skip
    """Patch a direction, its part that the next layer reads, and its part that it cannot see; compare with the whole site.

    ``v = v_row + v_null`` with respect to W_out (row space and kernel, by SVD). Effect of a patch along u:
    ``mean(LD(h + ((s - h).u) u) - LD(h)) / mean(LD(counterfactual) - LD(h))``, LD = logit of the counterfactual label minus
    that of the base answer, over pairs whose answer changes; the denominator is the subject's own LD on the source inputs.
    Flagged as an illusion when the unit row part keeps less than `keep` of the effect, or when the row part hardly varies:
    its spread over the data is below `dormant` of that of v, while v has an effect; or when v does more than the whole site
    by 0.2.

    Parameters
    ----------
    subject : Subject
    pairs : Interchanges
        Of one variable.
    basis : Aligned
        One coordinate for the variable (``size=1``); of more, the one with the largest effect is judged.
    readout : str or Tensor
        W_out: path of the linear module that reads the site, or [out, d].
    keep : float, default 0.5
        Share of the effect that the row part must keep.
    dormant : float, default 0.1
        Spread (standard deviation, of unit directions) below this share counts as dormant.
    random : int, default 19
        Random directions, as null of the effect.
    seed : int, default 0
        Of random directions and the interval.

    Returns
    -------
    Finding
        Estimate: effect of v. Controls: effects of the row part, the null part and the whole site, the size of the row part
        and its spread, and ``flagged`` (1 or 0). Table: one row per patch.

    Raises
    ------
    SiteError, ShapeError, UsageError
        No such module, a read-out of another width, several variables, a basis without directions.
    Degenerate
        Base and source outputs do not differ.
    SubjectMismatch, NonFinite
        As `interchange`.

    Notes
    -----
    Null: a random direction has almost no effect.
    Misleads when W_out has a single row (its row space is the gradient) or full column rank (no kernel): the first test is
    then empty, the second and third still speak.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli import Interchanges
    >>> from microtome.subject.subject import Subject
    >>> from microtome.trace import AlignedLinear
    >>> subject = Subject(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(3, 2, bias=False)))
    >>> _ = subject.module[1].weight.data.copy_(torch.tensor([[0.0, 2, 1], [0, -2, -1]]))
    >>> x = torch.tensor([1.0, -1, 1, -1] * 8)
    >>> base, source = (torch.stack([v, 0 * v, v], 1) for v in (x, -x))  # h = (x, 0, x), out = h3 + 2 h2
    >>> pairs = Interchanges("x", base, {"x": source}, (x > 0).long(), (x < 0).long())
    >>> fooled = AlignedLinear("0", torch.tensor([[1.0], [1.0], [0.0]]) / 2**0.5, {"x": [0]})
    >>> found = subspace_illusion(subject, pairs, fooled, readout=torch.eye(3)[1:])
    >>> round(found.estimate.value, 2), round(found.controls["row part"], 2), found.controls["flagged"]
    (1.0, 0.0, 1.0)

    References
    ----------
    Makelov, Lange, Nanda (2023). Is This the Subspace You Are Looking for? An Interpretability Illusion for Subspace
    Activation Patching. https://arxiv.org/abs/2311.17030
    """
    require_aligned(basis, subject)
    if len(pairs.variables) != 1 or basis.directions is None or random < 1:
        raise UsageError(f"needs pairs of one variable and a linear basis; got {pairs.variables} and {type(basis).__name__}.")
    data = prepare(subject, pairs, basis.site, basis.position)
    weight = _weight(subject, readout, data.base.shape[-1])
    measure = _Effect(data, subject, pairs)
    units = basis.directions[basis.units(*pairs.variables)].to(data.base)
    units = units / units.norm(dim=1, keepdim=True)
    v = max(units, key=lambda u: measure(u).mean())
    kernel_free = _row_projector(weight.to(v))
    row, null = kernel_free @ v, v - kernel_free @ v
    effects = {"v": measure(v), "row part": measure(row), "null part": measure(null), "whole site": measure(None)}
    value = {name: float(each.mean()) for name, each in effects.items()}
    both = torch.cat([data.base, *data.sources.values()]).reshape(-1, len(v))
    spread = {n: float((both @ _unit(u)).std()) for n, u in (("v", v), ("row part", row), ("null part", null))}
    size = float(row.norm())
    lost = value["row part"] < keep * value["v"]
    dead = size > 1e-3 and spread["row part"] < dormant * spread["v"]
    more = value["v"] > value["whole site"] + 0.2
    flagged = value["v"] > 0.1 and (lost or dead or more)
    draws = torch.randn(random, len(v), generator=torch_rng(seed, "illusion")).to(v)
    chance = np.array([float(measure(_unit(u)).mean()) for u in draws])
    controls = {**{k: e for k, e in value.items() if k != "v"}, "size of row part": size, "flagged": float(flagged),
                **{f"spread along {k}": s for k, s in spread.items()}}  # fmt: skip
    why = [text for test, text in ((lost, "the part that the next layer reads loses the effect"), (dead, "the part that the "
           "next layer reads is dormant on the data"), (more, "it does more than the whole site")) if test]  # fmt: skip
    whole = data.base.shape[-1] == int(torch.linalg.matrix_rank(weight, rtol=RANK))
    why += ["W_out has no kernel: only the tests of dormancy and of the whole site speak"] if whole else []
    one = effects["v"]
    estimate = bootstrap(one, seed=seed) if len(one) > 1 else Estimate(value["v"], n=1)
    return Finding(
        f"patching the direction of {pairs.variables[0]} at {basis.site} changes the output" + " (illusory)" * flagged,
        estimate=estimate, nulls=(Null("random directions", chance, value["v"]),), controls=controls, notes=tuple(why),
        table=_table(value, spread),
        provenance=Provenance(subject=subject.fingerprint(), data=pairs.fingerprint(), seed=seed),
    )  # fmt: skip


def _table(value: dict[str, float], spread: dict[str, float]) -> Any:
    import pandas as pd

    rows = [{"patch": k, "effect": e, "spread": spread.get(k, 0.0)} for k, e in value.items()]
    return pd.DataFrame(rows)


def _unit(v: Tensor) -> Tensor:
    return v / v.norm().clamp_min(1e-12)


class _Effect:
    """Effect of a patch on every pair whose answer changes, as a share of the mean difference that the sources make."""

    def __init__(self, data: Prepared, subject: Any, pairs: Any) -> None:
        self.data, self.changed = data, pairs.changed
        self.labels, self.before = (x.to(data.suffix.logits.device) for x in (pairs.labels, pairs.before))
        self.source = next(iter(data.sources.values()))
        goal = subject.run(next(iter(pairs.sources.values())), logits="all" if data.suffix.answers is None else "last").logits
        goal = goal[:, -1] if goal.ndim == 3 else goal
        self.start = self.difference(data.suffix.logits)
        self.total = float((self.difference(goal) - self.start).mean())
        if abs(self.total) < 1e-6:
            raise Degenerate("the subject's outputs on base and source inputs do not differ: there is no effect to patch in.")

    def difference(self, logits: Tensor) -> Tensor:
        """Counterfactual label against base answer."""
        each = logits.gather(1, self.labels[:, None]) - logits.gather(1, self.before[:, None])
        return each[:, 0][self.changed]

    def __call__(self, direction: Tensor | None) -> np.ndarray:
        """Along the unit vector of `direction`; None = the whole site."""
        move = self.source - self.data.base
        if direction is not None:
            unit = _unit(direction)
            move = (move @ unit)[..., None] * unit if float(direction.norm()) > 1e-4 else torch.zeros_like(move)
        found = self.difference(self.data.logits(self.data.base + move))
        return ((found - self.start) / self.total).double().cpu().numpy()


def _weight(subject: Any, readout: str | Tensor, width: int) -> Tensor:
    """W_out [out, d] as given or as the weight of a linear module (Conv1D of GPT-2 is transposed)."""
    if isinstance(readout, Tensor):
        weight = readout
    else:
        module = submodule(subject.module, readout) if readout else None
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            raise SiteError(f"'{readout}' is no linear module of {subject.name}, so its row space is not known.")
        weight = weight.detach().T if type(module).__name__ == "Conv1D" else weight.detach()
    if weight.ndim != 2 or weight.shape[1] != width:
        raise ShapeError(f"W_out must be [out, {width}], got {list(weight.shape)}.")
    return weight


def _row_projector(weight: Tensor) -> Tensor:
    _, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    rows = vh[s > RANK * s.max()]
    return (rows.T @ rows).to(weight.dtype)
