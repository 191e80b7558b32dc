"""What is to be done at one site during one call."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from microtome.subject.apply import Count, apply
from microtome.subject.edit import Edit
from microtome.subject.frame import Frame
from microtome.subject.site import Site


@dataclass
class Placed:
    """An edit on a slice of the rows of a batch (None = all rows), with its per-call count."""

    edit: Edit
    rows: slice | None = None
    count: Count | None = None

    def apply(self, value: Tensor, site: Site, frame: Frame) -> Tensor:
        """The site's value after the edit; `value` itself where no addressed cell lies in the window."""
        if self.rows is None:
            return apply(self.edit, value, site, frame, self.count)
        part = value[self.rows]
        new = apply(self.edit, part, site, frame, self.count)
        if new is part:
            return value
        whole = value.clone()
        whole[self.rows] = new
        return whole


@dataclass
class Tap:
    """What to do at one site: edits in order, then hand the value to `keep` (which may return a replacement)."""

    site: Site
    edits: list[Placed] = field(default_factory=list)
    keep: Callable[[Tensor], Tensor | None] | None = None
