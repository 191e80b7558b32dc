"""Pairs prepared for a site: source values and base values taken once, and the suffix that turns values into logits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.subject.frame import Position
from microtome.subject.inputs import Inputs
from microtome.trace.alignment.suffix import Suffix

#: Rows of one evaluated batch.
ROWS = 1024


@dataclass(eq=False)
class Prepared:
    """What the fit and the judgement of an alignment need of a subject.

    Attributes
    ----------
    suffix : Suffix
        Base values and everything after the site.
    sources : dict of variable -> Tensor[n, ..., d]
        Values at the site in the source runs.
    pairs : Interchanges
    """

    suffix: Suffix
    sources: dict[str, Tensor]
    pairs: Any

    @property
    def base(self) -> Tensor:
        """Base values [n, ..., d]."""
        return self.suffix.values

    @property
    def predictions(self) -> Tensor:
        """Classes without any edit [n]."""
        return self.suffix.logits.argmax(-1).cpu()

    @torch.no_grad()
    def logits(self, values: Tensor) -> Tensor:
        """Logits [n, classes] with `values` [n, ..., d] at the site of every base input."""
        rows = torch.arange(len(values)).split(ROWS)
        return torch.cat([self.suffix(values[part], part) for part in rows])


def prepare(subject: Any, pairs: Any, site: str, position: Position = None) -> Prepared:
    """Run base and source inputs once.

    Raises
    ------
    SiteError, ShapeError, UsageError
        Unknown site; sources of another length than their base; a position that is not there.
    NonFinite
        Values or logits that are no numbers.
    Degenerate
        No pairs, or none that changes the answer.
    """
    if not hasattr(pairs, "sources") or not hasattr(pairs, "before"):
        raise UsageError(f"pairs must be Interchanges (mt.stimuli.interchanges), got {type(pairs).__name__}.")
    if len(pairs) < 2:
        raise Degenerate(f"{len(pairs)} pairs are too few to fit or judge an alignment.")
    pairs.require_changed()
    subject.site(site)
    inputs, sources = _same_length(subject, pairs)
    suffix = Suffix(subject, inputs, site, position)
    classes = suffix.logits.shape[1]
    if int(pairs.labels.max()) >= classes or int(pairs.labels.min()) < 0:
        raise UsageError(f"labels must be classes 0..{classes - 1} of the subject's logits, got {int(pairs.labels.max())}.")
    values = {v: site_values(subject, given, suffix, position) for v, given in sources.items()}
    return Prepared(suffix, values, pairs)


def _same_length(subject: Any, pairs: Any) -> tuple[Inputs, dict[str, Inputs]]:
    """Inputs of base and sources; texts are tokenised together so that all are padded alike."""
    if isinstance(pairs.base, list):
        every = subject.tokens([*pairs.base, *(text for s in pairs.sources.values() for text in s)])
        n = len(pairs)
        base, *others = (every[i * n : (i + 1) * n] for i in range(1 + len(pairs.sources)))
        given = dict(zip(pairs.sources, others))
    else:
        base = subject.inputs(pairs.base)
        given = {v: subject.inputs(s) for v, s in pairs.sources.items()}
    for variable, source in given.items():
        if source.main.shape != base.main.shape:
            raise ShapeError(
                f"sources of {variable!r} have shape {list(source.main.shape)}, base inputs {list(base.main.shape)}: cells "
                "would not correspond. Use inputs of equal length."
            )
        differ = (source.lengths != base.lengths).nonzero().flatten().tolist()
        if differ:
            i = differ[0]
            raise ShapeError(
                f"the source of {variable!r} has another number of tokens than its base in {len(differ)} of {len(base)} pairs "
                f"(first: pair {i}, {int(source.lengths[i])} and {int(base.lengths[i])}), so positions do not correspond. "
                "Keep pairs of equal length: pairs[same_length]."
            )
    return base, given


def site_values(subject: Any, given: Inputs, suffix: Suffix, position: Position) -> Tensor:
    """Source values at the cells; the run stops at the site."""
    found = []
    for part in torch.arange(len(given)).split(ROWS):
        run = subject.run(given[part], record=[suffix.site.name], logits="none")
        found.append(suffix.cells.read(run[suffix.site.name], part).clone())
    values = torch.cat(found)
    if not bool(torch.isfinite(values).all()):
        from microtome.errors import NonFinite

        raise NonFinite(f"values at {suffix.site.name} in the source runs hold NaN or infinity.")
    return values
