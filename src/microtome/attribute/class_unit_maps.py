"""Maps of class units: where in a picture the channels that stand for its class see what they look for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import counted
from microtome.attribute.place import input_site
from microtome.attribute.rules import GUIDED
from microtome.attribute.rules.relevance import relevance
from microtome.attribute.rules.stride_free import GUIDED_STRIDE_FREE
from microtome.errors import SiteError, SubjectMismatch, UsageError
from microtome.evidence import Finding
from microtome.method import Paper, method
from microtome.subject.subject import Subject


@method(
    question="attribute",
    paper=Paper("Oramas, Wang, Tuytelaars", 2019, "Visual Explanation by Interpretation: Improving Visual Feedback "
                "Capabilities of Deep Neural Networks", "https://arxiv.org/abs/1712.06302"),
    needs=("subject", "task", "images", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="two forwards, one backward",
    claim="Maps of the channels of a class cover its part of the picture better than guided backpropagation of the output, "
    "without the grid of the strides.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the output needs these places: guided signals hardly depend on the layers above the channel.",
)  # fmt: skip
def class_unit_maps(
    subject: Any, task: Any, units: Finding, *, top: int = 5, stride_free: bool = True, metric: str | None = None
) -> Attribution:
    """Guided backpropagation from the strongest channels of each picture's predicted class.

    Of the channels with positive weight for the class the `top` with the largest ``w_k x_k``; from each its response norm,
    weighted with w_k, is sent back. With `stride_free` convolutions are passed back at stride 1 on resampled signals.

    Parameters
    ----------
    subject : Subject
    task : Task
        Pictures; the class explained is the predicted one.
    units : Finding
        From `class_units` of the same subject.
    top : int, default 5
        Channels per picture.
    stride_free : bool, default True
        Whether strides are taken out of the backward pass.
    metric : str, optional
        Only recorded beside the map (``output``); default the task's.

    Returns
    -------
    Attribution
        At the input, like the pictures. No residual: nothing is conserved.

    Raises
    ------
    UsageError
        When a predicted class has no channel with a positive weight, or `units` is no table of channels.
    SiteError
        When a site of the units is not the output of a module.
    SubjectMismatch
        When `units` are those of another subject.

    Notes
    -----
    Null: a random network has channels and maps too; fit `class_units` on `subject.twin()` and compare.
    Misleads when it is read as evidence for the class against others: it shows what the channels see.

    Examples
    --------
    >>> from microtome.attribute.class_units import class_units
    >>> from microtome.testing.worlds.class_units import world
    >>> planted = world(0)
    >>> found = class_unit_maps(planted.subject, planted.task, class_units(planted.subject, planted.task, mu=0.8), top=1)
    >>> at = found.values.abs().flatten(2).sum(2).argmax(1)  # each class is a colour
    >>> bool((at == planted.task.answers).all())
    True

    References
    ----------
    Oramas, Wang, Tuytelaars (2019). Visual Explanation by Interpretation: Improving Visual Feedback Capabilities of Deep
    Neural Networks. https://arxiv.org/abs/1712.06302
    """
    counted("top", top)
    if units.table is None or not {"class", "site", "channel", "weight"} <= set(units.table.columns):
        raise UsageError("units must be the Finding of class_units: a table of class, site, channel, weight.")
    if units.provenance.subject not in ("", subject.fingerprint()):
        raise SubjectMismatch("the units were fitted on another subject; run class_units on this one.")
    bound = subject.bind(task, metric=metric)
    logits = subject.run(bound.inputs).logits
    said = logits.argmax(1).cpu()
    table = units.table[units.table["weight"] > 0]
    missing = sorted(set(said.tolist()) - set(table["class"].tolist()))
    if missing:
        raise UsageError(f"no channel stands for class {missing[0]}; raise mu in class_units.")
    sites = list(dict.fromkeys(table["site"]))
    inner_sites = [s for s in sites if subject.site(s).at != "output" or not subject.site(s).view.whole]
    if inner_sites:
        raise SiteError(f"{inner_sites[0]} is not the whole output of a module, so nothing can be sent back from its channels.")
    within = Responses(subject.module, [subject.site(s).module for s in sites])
    with torch.no_grad():
        sizes = within(bound.inputs.main)
    starts = dict(zip(sites, within.starts))
    weights = torch.zeros_like(sizes)
    for n, label in enumerate(said.tolist()):
        mine = table[table["class"] == label]
        at = torch.tensor([starts[s] + c for s, c in zip(mine["site"], mine["channel"])])
        share = torch.tensor(mine["weight"].to_numpy(), dtype=sizes.dtype, device=sizes.device)
        lengths = torch.stack([within.length(sizes[n], sites.index(s)) for s in mine["site"]])
        best = (share * sizes[n, at] / lengths).topk(min(top, len(at))).indices
        weights[n, at[best.cpu()]] = (share / lengths)[best]
    site = input_site(subject)
    composite = GUIDED_STRIDE_FREE if stride_free else GUIDED
    inner = Subject(within, name=subject.name)
    found = relevance(inner, bound.inputs, [f"module.{site}"], lambda seen: (seen * weights).sum(1), composite)
    value = found.signal[f"module.{site}"].detach().cpu()
    output = bound.metric(bound.metric.read(logits)).cpu()
    return Attribution(
        value, subject.site(site).axes_of(value), site, "class unit maps", output, None, 3,
        subject=subject.fingerprint(), data=task.fingerprint(),
        settings={"metric": bound.metric.name, "top": top, "stride_free": stride_free},
    )  # fmt: skip


class Responses(nn.Module):
    """A network that ends with the response norms of its channels [n, channels of all sites]."""

    def __init__(self, module: nn.Module, sites: Sequence[str]) -> None:
        super().__init__()
        self.module, self.sites, self.starts = module, list(sites), [0]

    def forward(self, x: Tensor) -> Tensor:
        with self._seen() as values:
            self.module(x)
        norms = [(values[s].flatten(2).square().sum(2) + 1e-12).sqrt() for s in self.sites]
        self.starts = [sum(part.shape[1] for part in norms[:i]) for i in range(len(norms) + 1)]
        return torch.cat(norms, dim=1)

    def length(self, sizes: Tensor, i: int) -> Tensor:
        """Length of one picture's responses at the site of that number."""
        return sizes[self.starts[i] : self.starts[i + 1]].norm().clamp(min=1e-12)

    @contextmanager
    def _seen(self) -> Iterator[dict[str, Tensor]]:
        values: dict[str, Tensor] = {}
        handles = []
        try:
            for site in self.sites:

                def keep(_module: nn.Module, _args: Any, out: Tensor, name: str = site) -> None:
                    values[name] = out

                handles.append(self.module.get_submodule(site).register_forward_hook(keep))
            yield values
        finally:
            for handle in handles:
                handle.remove()
