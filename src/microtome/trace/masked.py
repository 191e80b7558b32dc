"""Run a subject whose edges are partly cut: the one engine behind edge patching, circuits, ACDC and learned masks.

Every reader v is given ``x + sum_u (1 - C[u, v]) (ref_u - out_u)``: the stream as it is in this run, with what the cut edges
carry replaced by a reference. The module itself is unchanged and computes everything else; copies with masks of their own
are stacked on the batch axis. With masks that ask for a gradient, so does the result.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.rng import rng
from microtome.subject.hooks import Tap, attached
from microtome.subject.inputs import Inputs
from microtome.subject.narrow import mlp_of, narrowed
from microtome.subject.replay import main_trunk
from microtome.subject.run import logits_of
from microtome.trace.knockout import ABLATIONS, Ablation, averaging
from microtome.trace.selection import heard, inputs_of
from microtome.trace.wires import Place, Reader, Wires

#: Bytes for what one pass holds in the width of the model.
WORK = 64 * 2**20


def reference_values(
    subject: Any, bound: Any, wires: Wires, ablation: Ablation, seed: int = 0, *, direction: str = "noising"
) -> list[Tensor]:
    """What cut edges carry, per group of writers [n, L, nodes, width].

    Noising takes it from the corrupt inputs (the clean ones are run), denoising from the clean inputs. "corrupt" = the paired
    input, "resample" = another one, "mean" = their mean per position and template, "zero" = 0.

    Raises
    ------
    UsageError
        When the ablation is unknown.
    """
    if ablation not in ABLATIONS:
        raise UsageError(f"ablation must be one of {ABLATIONS}, got {ablation!r}.")
    source = bound.corrupt if direction == "noising" else bound.inputs
    run = subject.run(source, record=wires.written, logits="none")
    values = [w.value(run) for w in wires.writers]
    if ablation == "zero":
        return [torch.zeros_like(v) for v in values]
    if ablation == "resample":
        order = torch.from_numpy(rng(seed, "resample").permutation(len(bound))).to(values[0].device)
        return [v[order] for v in values]
    if ablation == "mean":
        weights = averaging(bound)
        return [(weights.to(v) @ v.flatten(1)).view_as(v) for v in values]
    return values


def masked_metric(
    subject: Any, inputs: Inputs, metric: Any, wires: Wires, reference: Sequence[Tensor], masks: Tensor
) -> Tensor:
    """The metric [masks, n] with the edges outside each mask cut.

    Parameters
    ----------
    inputs, metric : Inputs, Metric
        Of the run that goes on where edges are kept.
    reference : sequence of Tensor
        From `reference_values`.
    masks : Tensor[masks, senders, receivers]
        1 = kept, 0 = cut, anything between = a mixture.
    """
    if masks.ndim != 3 or masks.shape[1:] != wires.allowed.shape:
        raise ShapeError(f"masks need the shape [masks, {', '.join(map(str, wires.allowed.shape))}], got {list(masks.shape)}.")
    n, length = len(inputs), reference[0].shape[1]
    widest = max(len(r.nodes) for p in wires.places for r in p.readers)
    one = 4 * length * wires.width * (len(wires.senders) + 2 * widest + 8)
    copies = max(1, min(len(masks), WORK // max(1, one * n)))
    rows = n if copies > 1 else max(1, min(n, WORK // max(1, one)))
    out = []
    for part in masks.split(copies):
        values = [_pass(subject, inputs[i : i + rows], metric.rows(slice(i, i + rows)), wires,
                        [r[i : i + rows] for r in reference], part) for i in range(0, n, rows)]  # fmt: skip
        out.append(torch.cat(values, dim=1))
    return torch.cat(out)


def _pass(subject: Any, inputs: Inputs, metric: Any, wires: Wires, reference: Sequence[Tensor], masks: Tensor) -> Tensor:
    k, n = len(masks), len(inputs)
    cut = _Cut(wires, reference, masks.to(reference[0]))
    trunk = main_trunk(subject)
    idle = [mlp_of(subject, trunk, b) for b in cut.idle] if trunk is not None else []
    stacked, parameters = inputs.repeat(k), [p for p in subject.module.parameters() if p.requires_grad]
    positions = None if metric.positions is None else metric.positions.repeat(k)
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(masks.requires_grad))
            for mlp in idle:  # nobody hears it: one position stands for all, and what it adds is taken off again
                stack.enter_context(narrowed(mlp, torch.zeros(k * n, dtype=torch.long)))
            stack.enter_context(attached(subject.module, cut.taps(subject), stacked.frame_of))
            logits = logits_of(subject.call(stacked, "all" if positions is None else positions))
            logits = logits[:, 0] if positions is not None and logits.ndim == 3 and logits.shape[1] == 1 else logits
            many = metric.repeat(k)
            return many(many.read(logits)).view(k, n)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class _Cut:
    """The taps of one pass: what writers write is compared with the reference, and readers are given their mixture."""

    def __init__(self, wires: Wires, reference: Sequence[Tensor], masks: Tensor) -> None:
        self.wires, self.reference = wires, reference
        self.off = (1 - masks).transpose(1, 2)  # [masks, receivers, senders]
        self.values: dict[str, Tensor] = {}
        self.change: list[Tensor] = []
        self.heard = np.ones(masks.shape[2], dtype=bool)
        if not masks.requires_grad:
            kept = (masks != 0).any(dim=0).cpu().numpy() & wires.allowed.numpy()
            self.heard = heard(kept, inputs_of(wires.senders, wires.receivers))
        self.idle = [p.block for p, i in zip(wires.places, wires.starts)
                     if len(p.nodes) == 1 and p.nodes[0] is not None and not self.heard[i]]  # fmt: skip
        self.room: Tensor | None = None
        self.filled = self.most = 0

    def taps(self, subject: Any) -> list[Tap]:
        """Streams and writers are watched, readers with a cut edge are replaced."""
        taps: dict[str, Tap] = {}
        needed = [i for i, p in enumerate(self.wires.places) if self._is_cut(i, range(len(p.nodes)))]
        if not needed:
            return []
        last = self.most = max(self.wires.places[i].upstream for i in needed)
        count = 0
        for i, writer in enumerate(self.wires.writers):
            count += len(writer.nodes)
            if count <= last:
                for site in writer.sites:
                    self._tap(taps, subject, site, self._watch(site, i if site == writer.sites[-1] else None))
        for i in needed:
            place, first = self.wires.places[i], self.wires.starts[i]
            self._tap(taps, subject, place.stream, self._watch(place.stream, None))
            for reader in place.readers:
                if self._is_cut(i, range(first - self.wires.starts[i], first - self.wires.starts[i] + len(reader.nodes))):
                    for site in reader.sites:
                        self._tap(taps, subject, site, self._replace(place, reader, first, site))
                first += len(reader.nodes)
        return list(taps.values())

    def _is_cut(self, place: int, nodes: range) -> bool:
        start = self.wires.starts[place]
        if not self.heard[start + nodes.start : start + nodes.stop].any():
            return False
        off = self.off[:, start + nodes.start : start + nodes.stop, : self.wires.places[place].upstream]
        return off.requires_grad or bool((off != 0).any())

    def _tap(self, taps: dict[str, Tap], subject: Any, site: str, keep: Any) -> None:
        known = subject.site(site)
        tap = taps.setdefault(known.name, Tap(known))
        before = tap.keep
        if before is None:
            tap.keep = keep
        else:  # one tensor under two names: both look at it

            def both(value: Tensor) -> Tensor | None:
                new = before(value)
                return keep(value if new is None else new) if new is None else new

            tap.keep = both

    def _watch(self, site: str, writer: int | None) -> Any:
        def keep(value: Tensor) -> None:
            self.values[site] = value
            if writer is not None:
                group = self.wires.writers[writer]
                now = group.value(self.values)
                k = len(now) // len(self.reference[writer])
                self._add(group.onto(self.reference[writer].repeat(k, 1, 1, 1) - now))

        return keep

    def _add(self, change: Tensor) -> None:
        """Keep what a group of writers would change: side by side in one buffer, or as parts where a gradient is wanted."""
        if self.off.requires_grad:
            self.change.append(change)
            return
        room = change.new_empty(change.shape[0], self.most, *change.shape[2:]) if self.room is None else self.room
        room[:, self.filled : self.filled + change.shape[1]] = change
        self.room = room
        self.filled += change.shape[1]

    def _changes(self, count: int) -> Tensor:
        """What the first `count` senders would change [rows, senders, L, d]."""
        if self.room is not None:
            return self.room[:, :count]
        self.change = [torch.cat(self.change, dim=1)]
        return self.change[0][:, :count]

    def _replace(self, place: Place, reader: Reader, first: int, site: str) -> Any:
        def keep(value: Tensor) -> Tensor:
            if site != reader.sites[0]:
                return self.values.pop("to " + site).reshape(value.shape)
            given = self._given(place, first, len(reader.nodes))  # [rows, nodes, L, d]
            read = _through(place, reader, given)
            if len(reader.sites) == 1:
                return (read[:, :, 0] if value.ndim == 3 else read).reshape(value.shape)
            parts = read[:, :, 0].split([value.shape[-1], read.shape[-1] - value.shape[-1]], -1)
            self.values["to " + reader.sites[1]] = parts[1]
            return parts[0].reshape(value.shape)

        return keep

    def _given(self, place: Place, first: int, count: int) -> Tensor:
        x = self.values[place.stream]
        change = self._changes(place.upstream).flatten(2)  # [rows, senders, L * d]
        k = len(self.off)
        off = self.off[:, None, first : first + count, : place.upstream]
        moved = off @ change.view(k, -1, *change.shape[1:])
        return x[:, None] + moved.flatten(0, 1).unflatten(-1, x.shape[1:])


def _through(place: Place, reader: Reader, given: Tensor) -> Tensor:
    """What the reader's nodes read of streams of their own: [rows, nodes, L, d] -> [rows, L, nodes, width]."""
    if reader.weight is None:
        return (given if place.norm is None else place.norm(given)).transpose(1, 2)
    if place.norm is None:
        read, constant = torch.einsum("nhld,hed->nlhe", given, reader.weight), reader.bias
    else:
        spread = place.norm.spread(given)[..., None].transpose(1, 2)
        read = torch.einsum("nhld,hed->nlhe", given, place.norm.folded(reader.weight)) / spread
        constant = reader.weight @ place.norm.bias
        constant = constant if reader.bias is None else constant + reader.bias
    return read if constant is None else read + constant
