"""One forward of one prompt as a linear network: attention patterns, norm scales and gates held at their values.

What is left is linear between the coordinates of the bases (`stations`), so a target's value is a sum of what each token,
coordinate, error and bias brings. Rows of that sum are vector-Jacobian products of this one forward (`rows.py`); the prompt
is never repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import NonFinite, ShapeError, SiteError
from microtome.subject.hooks import Tap, attached
from microtome.subject.inputs import Inputs
from microtome.subject.replay import main_trunk
from microtome.trace.frozen_hold import held_gates, held_modules
from microtome.trace.stations import Codes, Station, encode, encoder_rows

TOKEN = "token"


@dataclass(eq=False)
class Frozen:
    """The linear network of one prompt.

    Attributes
    ----------
    stations : list of Station
    readers : dict of str to Tensor
        What each site that is read holds [1, position, ...], tied to the leaves; "logits" [1, 1, vocab] at the last position.
    leaves : dict of str to Tensor
        What was put at each cut site; "token" = the stream before the first block.
    one : Tensor[blocks + 1]
        Ones that multiply every constant of a block (last: after the blocks): a derivative by them is what biases bring.
    codes : dict of str to Codes
        Active coordinates of each station, by what it reads.
    errors : dict of str to Tensor[position, units]
        What the stations that write a site leave unexplained there.
    patterns, values : dict of str to Tensor
        By the site of z where heads are cut: attention weights [head, query, key] and values [position, head, unit].
    live : dict of str to Tensor
        With ``live=True``, the coordinates that pass on what they read: one number per active coordinate.
    """

    stations: list[Station]
    one: Tensor
    readers: dict[str, Tensor] = field(default_factory=dict)
    leaves: dict[str, Tensor] = field(default_factory=dict)
    codes: dict[str, Codes] = field(default_factory=dict)
    errors: dict[str, Tensor] = field(default_factory=dict)
    patterns: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    live: dict[str, Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.leaves[TOKEN].shape[1]


Handler = Callable[[Tensor], Tensor | None]


def frozen(
    subject: Any, inputs: Inputs, stations: Sequence[Station], *,
    hold: bool = True, heads: bool = False, live: bool = False, also: Sequence[str] = (),
) -> Frozen:  # fmt: skip
    """Run one prompt once and keep it as a network that can be differentiated.

    Parameters
    ----------
    subject : Subject
    inputs : Inputs
        One prompt, without padding.
    stations : sequence of Station
    hold : bool
        Hold patterns, norm scales and gates. Without it the derivatives are those of the network itself.
    heads : bool
        Cut at the outputs of heads too.
    live : bool
        Let coordinates pass on what they read, their gates held, instead of cutting there.
    also : sequence of str
        More sites to read.

    Raises
    ------
    ShapeError
        When there is not exactly one prompt, or it is padded.
    SiteError
        When the subject has no blocks, or a site never fired.
    NonFinite
        When a value at a cut site is not a number.
    """
    if len(inputs) != 1 or inputs.mask is not None:
        raise ShapeError(f"an attribution graph is of one prompt without padding, got {len(inputs)} rows.")
    trunk = main_trunk(subject)
    if trunk is None:
        raise SiteError(f"{subject.name} is not of a known architecture, so its patterns and norms cannot be found.")
    label = f"{trunk.stack.name}." if trunk.stack.name else ""
    one = torch.ones(trunk.dims.blocks + 1, dtype=subject.dtype, device=subject.device, requires_grad=True)
    net = Frozen(list(stations), one)
    handlers: dict[str, list[Handler]] = {}

    def on(site: str, handler: Handler) -> None:
        handlers.setdefault(subject.site(site).name, []).append(handler)

    first = next(s for s in trunk.sites if s.endswith("blocks.0.resid_pre"))
    on(first, partial(_token, net))
    written = {w.site for s in stations for w in s.writers}
    if hold or heads:
        for name in [n for n in trunk.sites if n.endswith("attn.pattern")]:
            on(name, partial(_pattern, net, name.replace("pattern", "z") if heads else "", hold))
    if hold:
        for name, handler in held_gates(trunk, written - {s.reads for s in stations}, net.one):
            on(name, handler)
    for name in [n for n in trunk.sites if n.endswith("attn.z")] if heads else []:
        on(name.replace("attn.z", "attn.v"), partial(_value, net, name))
        on(name, partial(_cut_heads, net, name))
    read = [s.reads for s in stations] + [subject.site(s).name for s in also]
    read += [f"{label}logits"] * (f"{label}logits" in trunk.sites)
    for name in dict.fromkeys(read):
        on(name, partial(_read, net, name))
    for name in dict.fromkeys(n for n in (*read, *sorted(written))):
        if name in written:
            on(name, partial(_write, net, subject, name, live))
    taps = [Tap(subject.site(name), keep=_chain(found)) for name, found in handlers.items()]
    with without_parameters(subject.module), torch.enable_grad(), ExitStack() as stack:
        if hold:
            stack.enter_context(held_modules(subject.module, trunk, net.one))
        stack.enter_context(attached(subject.module, taps, inputs.frame_of))
        subject.call(inputs, "last")
    silent = [n for n in (TOKEN, *written) if n not in net.leaves] + [n for n in read if n not in net.readers]
    if silent:
        raise SiteError(f"{', '.join(sorted(silent))} never fired during the run.")
    return net


def _chain(found: list[Handler]) -> Handler:
    def keep(value: Tensor) -> Tensor | None:
        new: Tensor = value
        for handler in found:
            replaced = handler(new)
            new = new if replaced is None else replaced
        return None if new is value else new

    return keep


def _token(net: Frozen, value: Tensor) -> Tensor:
    leaf = value.detach().clone().requires_grad_(True)
    net.leaves[TOKEN] = leaf
    return leaf.clone()


def _pattern(net: Frozen, heads: str, hold: bool, value: Tensor) -> Tensor | None:
    if heads:
        net.patterns[heads] = value.detach()[0]
    return value.detach() if hold else None


def _value(net: Frozen, name: str, value: Tensor) -> None:
    net.values[name] = value.detach()[0]
    net.readers[name.replace("attn.z", "attn.v")] = value


def _cut_heads(net: Frozen, name: str, value: Tensor) -> Tensor:
    leaf = value.detach().clone().requires_grad_(True)
    net.leaves[name] = leaf
    return leaf.clone()


def _read(net: Frozen, name: str, value: Tensor) -> Tensor:
    net.readers[name] = value
    station = next((s for s in net.stations if s.reads == name), None)
    if station is not None:
        x = flat(value.detach())
        if not bool(torch.isfinite(x).all()):
            raise NonFinite(f"{name} holds values that are not numbers, so it cannot be explained.")
        net.codes[name] = encode(station.basis, x[0])
    return value.clone()  # a later in-place operation of the module must not reach what was kept


def _write(net: Frozen, subject: Any, name: str, live: bool, value: Tensor) -> Tensor:
    """Put the coordinates' sum, the error and the constants where the value was; together they are the value."""
    block, x = subject.site(name).block, flat(value.detach())[0]
    one = net.one[-1 if block is None else block]
    explained, bias, skip = torch.zeros_like(x), x.new_zeros(x.shape[-1]), torch.zeros_like(x)
    passed = torch.zeros_like(x)
    for station in net.stations:
        for i, writer in enumerate(w for w in station.writers if w.site == name):
            if station.reads not in net.codes:
                raise SiteError(f"{name} is written before {station.reads} is read: the basis cannot stand there.")
            codes = net.codes[station.reads]
            table = writer.table.to(x)[codes.index]
            explained = explained.index_add(0, codes.position, codes.value[:, None] * table)
            bias = bias + writer.bias.to(x)
            if station.skip is not None and writer is station.writers[0] and i == 0:
                skip = skip + flat(net.readers[station.reads])[0] @ station.skip.to(x)
            if live:
                passed = passed.index_add(0, codes.position, _passing(net, station, one)[:, None] * table)
    error = x - explained - bias - skip.detach()
    net.errors[name] = error
    leaf = (error if live else explained + error).clone().requires_grad_(True)
    net.leaves[name] = leaf
    new = leaf + passed + bias * one + skip
    return new[None].view_as(value)


def _passing(net: Frozen, station: Station, one: Tensor) -> Tensor:
    """The station's active coordinates as linear functions of what it reads, their gates held open."""
    if station.reads not in net.live:
        codes, read = net.codes[station.reads], flat(net.readers[station.reads])[0]
        rows = encoder_rows(station.basis, codes.index, read.detach()[codes.position])
        pre = (read[codes.position] * rows).sum(-1)
        constant = codes.value - pre.detach()
        net.live[station.reads] = pre + constant * one
    return net.live[station.reads]


def flat(value: Tensor) -> Tensor:
    """[1, position, units]: heads side by side."""
    return value.flatten(2) if value.ndim == 4 else value


@contextmanager
def without_parameters(module: nn.Module) -> Iterator[None]:
    """No parameter takes a gradient within; their flags come back."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
