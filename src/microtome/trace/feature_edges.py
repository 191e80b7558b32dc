"""Edges of sparse feature circuits: what each kept node does to the metric through each later one, all others cut."""

from typing import Any

import torch
from torch import Tensor

from microtome.subject.inputs import Inputs
from microtome.trace.feature_effects import Found, Submodule
from microtome.trace.frozen import Frozen, flat, frozen
from microtome.trace.rows import pull
from microtome.trace.stations import encoder_rows

#: A node: site, and the feature's index or `ERROR`; the output is `OUTPUT`.
Name = tuple[str, int]
ERROR = -1
OUTPUT: Name = ("", -2)


def feature_edges(
    subject: Any, bound: Any, found: Found, chosen: dict[str, Tensor], errors: dict[str, bool], threshold: float
) -> list[tuple[Name, Name, float]]:
    """Edges (source, target, weight) with |weight| above the threshold, averaged over prompts."""
    names = _names(found, chosen, errors)
    total = torch.zeros(len(names), len(names))
    for i in range(len(bound)):
        total += _of_prompt(subject, bound, found, i, names, chosen)
    total /= len(bound)
    kept = (total.abs() > threshold).nonzero()
    return [(names[s], names[t], float(total[t, s])) for t, s in kept.tolist()]


def _names(found: Found, chosen: dict[str, Tensor], errors: dict[str, bool]) -> list[Name]:
    names: list[Name] = []
    for part in found.parts:
        site = part.station.reads
        names += [(site, int(u)) for u in chosen[site]] + ([(site, ERROR)] if errors[site] else [])
    return [*names, OUTPUT]


def _of_prompt(subject: Any, bound: Any, found: Found, i: int, names: list[Name], chosen: dict[str, Tensor]) -> Tensor:
    """Weights [target, source] on one prompt: a vector-Jacobian product per target, by site."""
    length = int(bound.inputs.lengths[i]) if bound.metric.positions is None else int(bound.metric.positions[i]) + 1
    prompt = Inputs({k: v[i : i + 1, :length] if v.ndim == 2 else v[i : i + 1] for k, v in bound.inputs.items()})
    prompt = Inputs({k: v for k, v in prompt.items() if k != "attention_mask"})
    net = frozen(subject, prompt, [p.station for p in found.parts], hold=False)
    parts = {p.station.reads: p for p in found.parts}
    out = torch.zeros(len(names), len(names))
    for site, part in parts.items():
        rows = [k for k, n in enumerate(names) if n[0] == site]
        if rows:
            given = torch.stack([_given(net, part, i, length, names[k][1]) for k in rows])
            _fill(out, rows, pull(net, site, given), parts, i, length, names, chosen)
    logits = next(n for n in net.readers if n.endswith("logits"))
    row = bound.metric.rows(slice(i, i + 1))
    leaf = net.readers[logits].detach()[:, 0].clone().requires_grad_(True)
    with torch.enable_grad():
        slope = torch.autograd.grad(row(leaf).sum(), leaf)[0]
    _fill(out, [len(names) - 1], pull(net, logits, slope[None]), parts, i, length, names, chosen)
    return out


def _given(net: Frozen, part: Submodule, i: int, length: int, index: int) -> Tensor:
    """grad_d m . d(d)/dx at every position [position, units]: what is pulled back for one downstream node."""
    site, slope = part.station.reads, part.gradient[i, :length]
    x, table = flat(net.readers[site]).detach()[0], part.station.writers[0].table.to(slope)
    codes = net.codes[site]
    if index != ERROR:
        here = codes.index == index
        position = codes.position[here]
        rows = encoder_rows(part.station.basis, codes.index[here], x[position])
        out = torch.zeros_like(slope)
        out[position] = (slope[position] @ table[index])[:, None] * rows
        return out
    rows = encoder_rows(part.station.basis, codes.index, x[codes.position])
    passed = (slope[codes.position] * table[codes.index]).sum(1)
    return slope.index_add(0, codes.position, -passed[:, None] * rows)


def _fill(
    out: Tensor, rows: list[int], leaves: dict[str, Tensor], parts: dict[str, Submodule], i: int, length: int,
    names: list[Name], chosen: dict[str, Tensor],
) -> None:  # fmt: skip
    """Products of the pulled gradients [rows, position, units] with what each kept source changes."""
    number = {name: k for k, name in enumerate(names)}
    for site, gradient in leaves.items():
        if site not in parts:
            continue
        part = parts[site]
        table = part.station.writers[0].table.to(gradient)[chosen[site]]
        brought = torch.einsum("rpd,fd,pf->rf", gradient, table, part.change[i, :length][:, chosen[site]])
        for column, unit in enumerate(chosen[site].tolist()):
            out[rows, number[site, unit]] += brought[:, column]
        if (site, ERROR) in number:
            out[rows, number[site, ERROR]] += (gradient * part.error_change[i, :length]).sum((1, 2))
