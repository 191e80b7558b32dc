"""What a graph explains: directions of the logits, or a coordinate of a basis."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import SiteError, UsageError
from microtome.subject.replay import main_trunk
from microtome.subject.unit import Unit
from microtome.trace.frozen import Frozen, flat
from microtome.trace.rows import Seeds
from microtome.trace.stations import Station, encoder_rows

#: The smallest set of next tokens with this much of the probability is explained, at most `MOST` of them.
COVERED, MOST = 0.95, 10


@dataclass(frozen=True, eq=False)
class Explained:
    """Targets of a graph: seeds, their values and constants, and how much each counts."""

    seeds: list[Seeds]
    value: Tensor
    constant: Tensor
    block: Tensor
    share: Tensor
    index: Tensor
    position: Tensor
    layer: Tensor
    words: list[str]

    def __len__(self) -> int:
        return len(self.value)

    def first(self) -> "Explained":
        """The first target alone, counted in full."""
        cut = {k: getattr(self, k)[:1] for k in ("value", "constant", "block", "index", "position", "layer", "words")}
        return Explained([self.seeds[0].part(slice(0, 1))], share=torch.ones(1), **cut)


def feature_seeds(net: Frozen, station: Station, chosen: Tensor) -> tuple[Seeds, Tensor, int]:
    """Some active coordinates of a station as targets: seeds, the part of each value that no source brings, and its block."""
    codes = net.codes[station.reads]
    position, index = codes.position[chosen], codes.index[chosen]
    x = flat(net.readers[station.reads]).detach()[0][position]
    vector = encoder_rows(station.basis, index, x)
    constant = codes.value[chosen] - (x * vector).sum(-1)
    return Seeds(station.reads, position, vector), constant.float(), block_of(net, station.reads)


def block_of(net: Frozen, site: str) -> int:
    """Which of the biases a site's constants belong to: its block, or the last."""
    number = site.partition("blocks.")[2].partition(".")[0]
    return int(number) if number.isdecimal() else len(net.one) - 1


def logit_targets(subject: Any, net: Frozen, target: Any) -> Explained:
    """Directions of the logits at the last position.

    A soft cap ``y = c tanh(x / c)`` is held as norms are: ``y_i = s_i x_i`` with the scale ``s_i = y_i / x_i`` of this prompt.
    So probabilities and values are those of the capped logits, and what arrives sums to them without a constant.

    Raises
    ------
    SiteError
        When the subject has no head.
    UsageError
        When a token is not one of the vocabulary.
    """
    name = next((n for n in net.readers if n.endswith("logits")), None)
    if name is None:
        raise SiteError(f"{subject.name} gives no logits; explain a unit of a basis: target=basis.unit(3).")
    logits = net.readers[name].detach()[0, 0].float()
    scale = _held_cap(subject, logits)
    vocab, p = len(logits), (scale * logits).softmax(-1)
    if target is None:
        order = p.argsort(descending=True, stable=True)[:MOST]
        count = int((p[order].cumsum(0) < COVERED).sum()) + 1
        wanted: list[tuple[int, ...]] = [(int(i),) for i in order[:count]]
    elif isinstance(target, tuple):
        if len(target) != 2:
            raise UsageError(f"a target is one token or a pair of tokens, got {target!r}.")
        wanted = [(_token(subject, target[0], vocab), _token(subject, target[1], vocab))]
    else:
        wanted = [(_token(subject, target, vocab),)]
    vectors = torch.zeros(len(wanted), vocab)
    for row, ids in zip(vectors, wanted):
        if len(ids) == 1:
            row -= 1 / vocab
        else:
            row[ids[1]] = -1.0
        row[ids[0]] += 1.0
    vectors *= scale
    share = torch.tensor([float(p[ids[0]]) if target is None else 1.0 for ids in wanted])
    words = [" - ".join(_word(subject, i) for i in ids) for ids in wanted]
    n, last = len(wanted), torch.zeros(len(wanted), dtype=torch.long)
    after = torch.full((n,), len(net.one) - 1)
    return Explained(
        [Seeds(name, last, vectors)], vectors @ logits, torch.zeros(n), after, share,
        torch.tensor([ids[0] for ids in wanted]), last + net.length - 1, after, words,
    )  # fmt: skip


def _held_cap(subject: Any, logits: Tensor) -> Tensor:
    """What a soft cap multiplies each of these logits by; 1 where there is none."""
    trunk = main_trunk(subject)
    cap = None if trunk is None or not trunk.stack.cap else getattr(subject.module.config, trunk.stack.cap, None)
    return torch.ones_like(logits) if not cap else torch.where(logits == 0, 1.0, cap * (logits / cap).tanh() / logits)


def unit_target(net: Frozen, unit: Unit, position: int) -> Explained:
    """One active coordinate of a basis.

    Raises
    ------
    UsageError
        When no basis has the unit, or it is not active at the position.
    """
    found = [s for s in net.stations if s.reads == unit.site and (s.basis.name or "") == unit.basis]
    if not found:
        raise UsageError(f"no basis has {unit}; there are {', '.join(s.name for s in net.stations)}.")
    at = position + net.length if position < 0 else position
    codes = net.codes[unit.site]
    chosen = ((codes.position == at) & (codes.index == unit.index)).nonzero()[:, 0]
    if not len(chosen):
        active = codes.position[codes.index == unit.index].tolist()
        raise UsageError(f"{unit} is not active at position {at} of {net.length}; it is active at {active or 'none'}.")
    seeds, constant, block = feature_seeds(net, found[0], chosen)
    one = torch.ones(1, dtype=torch.long)
    return Explained(
        [seeds], codes.value[chosen].float(), constant, block * one, torch.ones(1), unit.index * one, at * one, block * one,
        [str(unit)],
    )  # fmt: skip


def _token(subject: Any, token: Any, vocab: int) -> int:
    if isinstance(token, str):
        if subject.tokenizer is None:
            raise UsageError(f"{subject.name} has no tokenizer; name the token by its id.")
        ids = subject.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise UsageError(f"{token!r} is {len(ids)} tokens; a target is one token.")
        return int(ids[0])
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocab:
        raise UsageError(f"a target is a token's text or id (0..{vocab - 1}), a pair of them, or a Unit; got {token!r}.")
    return token


def _word(subject: Any, token: int) -> str:
    return str(token) if subject.tokenizer is None else subject.tokenizer.decode([token])
