"""Rows of an attribution graph: what every source brings to each target, by batched vector-Jacobian products."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from microtome.trace.frozen import TOKEN, Frozen, flat


@dataclass(frozen=True, eq=False)
class Seeds:
    """Targets that are read at one site: target i is ``vector[i] . site[position[i]]``."""

    site: str
    position: Tensor
    vector: Tensor

    def __len__(self) -> int:
        return len(self.position)

    def part(self, chosen: Tensor | slice) -> "Seeds":
        """Some of the targets."""
        return Seeds(self.site, self.position[chosen], self.vector[chosen])


@dataclass(frozen=True, eq=False)
class Block:
    """Sources that are added at one cut site: `amounts` [position, width, units], and where they go among all sources.

    `place` [position, width] is -1 where a position has fewer sources than others.
    """

    site: str
    amounts: Tensor
    place: Tensor


class Sources:
    """Everything that may bring something to a target, in a fixed order.

    Order: tokens, biases (one per block, and one after), errors (site by site), coordinates (station by station), heads (z
    site, query, head, key).

    Parameters
    ----------
    net : Frozen
    amounts : dict of str to Tensor, optional
        How much of each active coordinate counts, by station, where it is not its value (a difference of two runs).
    """

    def __init__(self, net: Frozen, amounts: dict[str, Tensor] | None = None) -> None:
        self.net, self.amounts = net, amounts or {}
        self.start: dict[tuple[str, str], int] = {}
        sizes = [(("token", ""), net.length), (("bias", ""), len(net.one))]
        sizes += [(("error", site), net.length) for site in net.errors]
        sizes += [(("feature", s.reads), len(net.codes[s.reads])) for s in net.stations]
        sizes += [(("head", z), p.numel()) for z, p in net.patterns.items()]
        self.size = 0
        self.spans: dict[tuple[str, str], range] = {}
        for key, size in sizes:
            self.spans[key] = range(self.size, self.size + size)
            self.size += size

    @cached_property
    def blocks(self) -> list[Block]:
        """Sources by the site at which they are added."""
        net, found = self.net, []
        for (kind, site), span in self.spans.items():
            place = torch.arange(span.start, span.stop)
            if kind == "token":
                found.append(Block(TOKEN, net.leaves[TOKEN].detach()[0][:, None], place[:, None]))
            elif kind == "error":
                found.append(Block(site, net.errors[site][:, None], place[:, None]))
            elif kind == "feature":
                found += self._features(site, place)
        return found

    def _features(self, reads: str, place: Tensor) -> Iterator[Block]:
        """The active coordinates of a station, position by position side by side."""
        station = next(s for s in self.net.stations if s.reads == reads)
        codes = self.net.codes[reads]
        if not len(codes):
            return
        count = torch.bincount(codes.position, minlength=self.net.length)
        column = torch.arange(len(codes)) - (count.cumsum(0) - count)[codes.position]  # codes stand in order of position
        placed = torch.full((self.net.length, int(count.max())), -1)
        placed[codes.position, column] = place
        amount = self.amounts.get(reads, codes.value)
        for writer in station.writers:
            like = self.net.leaves[writer.site]
            amounts = like.new_zeros(*placed.shape, writer.table.shape[1])
            amounts[codes.position, column] = amount.to(like)[:, None] * writer.table.to(like)[codes.index]
            yield Block(writer.site, amounts, placed)

    def batch(self, memory: int) -> int:
        """Targets per product, so that gradients at the leaves and the rows stay within `memory` bytes."""
        cells = sum(leaf.numel() for leaf in self.net.leaves.values())
        widest = max((b.place.numel() for b in self.blocks), default=0)
        heads = max((p.numel() for p in self.net.patterns.values()), default=0)
        each = 4 * (4 * cells + 2 * widest + 2 * heads + 2 * self.size)
        return max(1, min(1024, memory // max(each, 1)))

    def rows(self, seeds: Sequence[Seeds], memory: int) -> Iterator[tuple[int, Tensor]]:
        """What every source brings to every target, some targets at a time: (first target, [targets, sources])."""
        width, start = self.batch(memory), 0
        for seed in seeds:
            for first in range(0, len(seed), width):
                part = seed.part(slice(first, first + width))
                yield start + first, self._rows(part)
            start += len(seed)

    def row(self, seed: Seeds) -> tuple[Tensor, dict[str, Tensor]]:
        """The row of a single target, and its gradient at each cut site."""
        by_leaf: dict[str, Tensor] = {}
        return self._rows(seed, by_leaf)[0], {name: g[0] for name, g in by_leaf.items()}

    def _rows(self, seed: Seeds, gradients: dict[str, Tensor] | None = None) -> Tensor:
        net, reader = self.net, self.net.readers[seed.site]
        n = len(seed)
        out = torch.zeros(n, self.size, dtype=reader.dtype)
        given = reader.new_zeros(n, *flat(reader).shape[1:])
        given[torch.arange(n), seed.position] = seed.vector.to(given)
        by_leaf = pull(net, seed.site, given)
        if gradients is not None:
            gradients.update(by_leaf)
        if "" in by_leaf:
            span = self.spans["bias", ""]
            out[:, span.start : span.stop] = by_leaf[""]
        for block in self.blocks:
            if block.site in by_leaf:
                g = by_leaf[block.site].transpose(0, 1)
                brought = torch.bmm(g, block.amounts.to(g).transpose(1, 2))  # [position, targets, width]
                real = block.place >= 0
                out[:, block.place[real]] += brought.transpose(0, 1)[:, real]
        self._heads(out, by_leaf)
        return out

    def _heads(self, out: Tensor, by_leaf: dict[str, Tensor]) -> None:
        """What each head moves from each position: pattern [h, q, k] * value [k, h] . gradient [q, h]."""
        for z, pattern in self.net.patterns.items():
            if z not in by_leaf:
                continue
            g = by_leaf[z][:, 0]  # [targets, query, head, unit]
            value = self.net.values[z].repeat_interleave(g.shape[2] // self.net.values[z].shape[1], dim=1)
            brought = torch.einsum("nqhd,khd->nqhk", g, value.to(g)) * pattern.to(g).transpose(0, 1)
            span = self.spans["head", z]
            out[:, span.start : span.stop] = brought.flatten(1)


def pull(net: Frozen, site: str, given: Tensor) -> dict[str, Tensor]:
    """Gradients at every leaf [targets, position, ...] that targets `given` [targets, position, units] at a site reach.

    The derivative by the constants is under "".
    """
    reader = net.readers[site]
    if not reader.requires_grad:
        return {}
    names = [*net.leaves, ""]
    grads = torch.autograd.grad(
        reader, [*net.leaves.values(), net.one], given.reshape(len(given), *reader.shape), retain_graph=True,
        allow_unused=True, is_grads_batched=True,
    )  # fmt: skip
    return {
        name: g if name == "" or name in net.patterns else g.reshape(len(given), net.length, -1)
        for name, g in zip(names, grads)
        if g is not None
    }
