"""Thousands of edits, each costing only what it changes.

Edits are grouped by the first position they touch and sorted by the first block (`waves.py`). Logits are computed only where
the metric reads them. The result of a few edits is compared with full forwards first; where they disagree, everything runs
in full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.engine import shrink_on_oom
from microtome.errors import UsageError
from microtome.subject.architecture import Trunk
from microtome.subject.bind import Metric
from microtome.subject.edit import Edit
from microtome.subject.inputs import Inputs
from microtome.subject.partial import projections
from microtome.subject.reading import reads_elsewhere
from microtome.subject.replay import capture, head_of, main_trunk
from microtome.subject.run import bind_edits, logits_of
from microtome.subject.sweep_values import full_values
from microtome.subject.waves import Entry, Waves

if TYPE_CHECKING:
    import pandas as pd

    from microtome.subject.subject import Subject


@dataclass
class Sweep:
    """Results of `Subject.sweep`.

    Attributes
    ----------
    edits : list of tuple of Edit
    values : Tensor[entries, n]
        The metric under each entry.
    base : Tensor[n]
        The metric without edits.
    forwards : float
        Cost in full forward passes of the batch.
    replayed : bool
        Whether suffixes were replayed; False means full forwards (see `note`).
    note : str
    """

    edits: list[tuple[Edit, ...]]
    values: Tensor
    base: Tensor
    forwards: float
    replayed: bool
    note: str = ""

    @property
    def effects(self) -> Tensor:
        """values - base [entries, n]."""
        return self.values - self.base

    @property
    def table(self) -> "pd.DataFrame":
        """One row per entry: the edits, mean value, mean effect."""
        import pandas as pd

        return pd.DataFrame({
            "edit": ["; ".join(map(str, e)) for e in self.edits],
            "value": self.values.mean(dim=1).tolist(),
            "effect": self.effects.mean(dim=1).tolist(),
        })

    def __repr__(self) -> str:
        how = "suffix replay" if self.replayed else "full forwards"
        return f"Sweep({len(self.edits)} entries x {self.base.numel()} examples, {self.forwards:.1f} forwards, {how})"


def sweep(subject: "Subject", inputs: Inputs, edits: Sequence[Any], metric: Metric, *, memory: int = 256 * 2**20) -> Sweep:
    """See `Subject.sweep`."""
    sets = [(e,) if isinstance(e, Edit) else tuple(e) for e in edits]
    if not sets or not all(sets):
        raise UsageError("sweep needs at least one edit in every entry.")
    flat = iter(bind_edits(subject, inputs, [e for s in sets for e in s]))
    bound = [tuple(next(flat) for _ in s) for s in sets]
    trunk = main_trunk(subject)
    why = _why_not(subject, trunk, bound, metric)
    if why or trunk is None:
        return _full(subject, inputs, bound, metric, memory, why)
    reuse = trunk.stack.causal and bool((inputs.frame.start == 0).all())
    entries = [_entry(subject, i, s, inputs, reuse) for i, s in enumerate(bound)]
    reuse = reuse and any(e.start > 0 for e in entries)
    kept = {b: projections(subject, trunk, b) for b in sorted({e.block for e in entries})}
    base = capture(subject, trunk, inputs, metric.positions, cache=reuse, projections=kept)  # type: ignore[arg-type]
    if base.keys is None:
        for entry in entries:
            entry.start = 0
    waves = Waves(subject, trunk, inputs, base, metric, memory, kept)
    values, why = waves.run(entries)
    if why and any(e.start for e in entries):
        for entry in entries:
            entry.start = 0
        values, why = waves.run(entries)
    if why or values is None:
        return _full(subject, inputs, bound, metric, memory, why)
    return Sweep(bound, values, metric(base.logits).cpu(), waves.forwards, True)


def _why_not(subject: "Subject", trunk: Trunk | None, sets: Sequence[tuple[Edit, ...]], metric: Metric) -> str:
    """Why suffix replay cannot serve, or ""."""
    if trunk is None or head_of(subject) is None or metric.positions is None:
        return "no known blocks and head to replay"
    for edit in (e for s in sets for e in s):
        site = subject.site(edit.site)
        if site.block is None or site.stack != trunk.stack.name:
            return f"{site.name} lies outside the blocks"
        if edit.basis is not None and reads_elsewhere(edit.basis):
            return f"the basis '{edit.basis.name}' reads another site than it writes"
    return ""


def _entry(subject: "Subject", index: int, edits: tuple[Edit, ...], inputs: Inputs, reuse: bool) -> Entry:
    by_block: dict[int, list[Edit]] = {}
    start = inputs.main.shape[1]
    for edit in edits:
        by_block.setdefault(subject.site(edit.site).block or 0, []).append(edit)
        columns = inputs.frame_of(subject.site(edit.site)).resolve(edit.position)
        start = min(start, 0 if columns is None or not reuse else int(columns.min()))
    return Entry(index, edits, min(by_block), start, by_block)


def _full(subject: "Subject", inputs: Inputs, sets: list[tuple[Edit, ...]], metric: Metric, memory: int, note: str) -> Sweep:
    """Every entry by a full forward, as many copies stacked as the memory holds."""
    with torch.no_grad():
        logits = logits_of(subject.call(inputs, metric.where))
    base = metric(metric.read(logits)).cpu()
    size = sum(v.numel() * v.element_size() for v in inputs.tensors.values()) * 64
    room = int(max(1, min(64, memory // max(1, size))))
    values = torch.cat(shrink_on_oom(lambda part: full_values(subject, inputs, part, metric), sets, room)[0])
    return Sweep(sets, values, base, 1.0 + len(sets), False, note)
