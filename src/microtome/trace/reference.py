"""What cut edges carry: the values of all writers in a run of other inputs, and the streams that these would make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.subject.fused import fused
from microtome.trace.knockout import ABLATIONS, Ablation, averaging
from microtome.trace.wires import Wires


@dataclass(frozen=True)
class Reference:
    """Values of writers, and of the stream at every place.

    Attributes
    ----------
    values : list of Tensor[n, L, nodes, width]
        Per group of writers.
    streams : list of Tensor[n, L, d]
        Per place: what its readers are given when every edge is cut.
    """

    values: list[Tensor]
    streams: list[Tensor]

    def rows(self, index: slice | Tensor) -> "Reference":
        """Some of the prompts."""
        index = index.to(self.streams[0].device) if isinstance(index, Tensor) else index
        return Reference([v[index] for v in self.values], [s[index] for s in self.streams])


@torch.no_grad()
def reference_values(
    subject: Any, bound: Any, wires: Wires, ablation: Ablation, seed: int = 0, *, direction: str = "noising"
) -> Reference:
    """What cut edges carry.

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
    places = [p.stream for p in wires.places]
    with fused(subject.module):
        run = subject.run(source, record=list(dict.fromkeys([*wires.written, *places])), logits="none")
    values, streams = [w.value(run) for w in wires.writers], [run[p] for p in places]
    if ablation == "corrupt":
        return Reference(values, streams)
    return _exchanged(wires, values, streams, [_ablated(v, bound, ablation, seed) for v in values])


def _ablated(value: Tensor, bound: Any, ablation: str, seed: int) -> Tensor:
    if ablation == "zero":
        return torch.zeros_like(value)
    if ablation == "resample":
        return value[torch.from_numpy(rng(seed, "resample").permutation(len(bound))).to(value.device)]
    return (averaging(bound).to(value) @ value.flatten(1)).view_as(value)


def _exchanged(wires: Wires, old: Sequence[Tensor], streams: Sequence[Tensor], new: list[Tensor]) -> Reference:
    """The streams with what was written exchanged for what is written instead; constants stay."""
    change, done, moved = torch.zeros_like(streams[0]), 0, []
    ends = torch.tensor([len(w.nodes) for w in wires.writers]).cumsum(0).tolist()
    for place, stream in zip(wires.places, streams):
        while done < len(ends) and ends[done] <= place.upstream:
            change = change + wires.writers[done].onto(new[done] - old[done]).sum(1)
            done += 1
        moved.append(stream + change)
    return Reference(new, moved)
