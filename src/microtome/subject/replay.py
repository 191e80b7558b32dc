"""Suffix replay: run only the blocks that an edit changes, from what the unedited forward gave them.

Each block's (args, kwargs) are taken once from a full forward of the unmodified model. A suffix is then a loop over the
blocks themselves; for causal stacks it may also start at a position, with the keys and values of the prefix from that
forward. Every use is checked against the full forward first (`sweep.py`), and given up where it does not agree.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from microtome.errors import SiteError, UsageError
from microtome.subject.architecture import Trunk, submodule
from microtome.subject.hooks import first_input
from microtome.subject.inputs import Inputs
from microtome.subject.site import Site

if TYPE_CHECKING:
    from microtome.subject.run import Logits
    from microtome.subject.subject import Subject


def main_trunk(subject: "Subject") -> Trunk | None:
    """The stack that feeds the head: the last one with a head (the decoder), or the only one."""
    headed = [t for t in subject.trunks if t.stack.head and submodule(subject.module, t.path(t.stack.head)) is not None]
    return (headed or subject.trunks or [None])[-1]


def head_of(subject: "Subject") -> nn.Module | None:
    """The module that gives logits, or None."""
    trunk = main_trunk(subject)
    if trunk is None or not trunk.stack.head or submodule(subject.module, trunk.path(trunk.stack.head)) is None:
        return None
    return subject.module.get_submodule(trunk.path(trunk.stack.head))


@contextmanager
def head_rows(subject: "Subject", inputs: Inputs, logits: "Logits") -> Iterator[None]:
    """Within the context the head sees only the wanted position of each example, so no other logits are computed."""
    head = None if isinstance(logits, str) and logits != "last" else head_of(subject)
    if head is None:
        yield
        return
    trunk = main_trunk(subject)
    last = inputs.stack_frame(trunk.stack.name if trunk else "").stop - 1
    positions = last if isinstance(logits, str) else torch.as_tensor(logits)
    if positions.shape != (len(inputs),):
        raise UsageError(f"logits positions need one entry per example [{len(inputs)}], got {list(positions.shape)}.")

    def pick(_module: nn.Module, args: tuple) -> tuple:
        x = args[0]
        if x.ndim != 3:
            return args
        return (x[torch.arange(len(x), device=x.device), positions.to(x.device)][:, None], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def tail(subject: "Subject") -> Callable[[Tensor], Tensor]:
    """What follows the last block: final norm, head, soft cap. Maps residual vectors [..., d] to logits [..., vocab]."""
    trunk, head = main_trunk(subject), head_of(subject)
    if trunk is None or head is None:
        raise SiteError(f"{subject.name} has no known final norm and head; the logit lens needs a language-model head.")
    finish = trunk.finish(subject.module)
    cap = getattr(subject.module.config, trunk.stack.cap, None) if trunk.stack.cap else None

    def apply(x: Tensor) -> Tensor:
        logits = head(finish(x))
        return torch.tanh(logits / cap) * cap if cap else logits

    return apply


@dataclass
class Capture:
    """What the unedited forward gave each block.

    Attributes
    ----------
    calls : list of dict
        Arguments of each block by name, without its hidden states.
    hidden : list of Tensor[n, length, d]
        Input of each block, then the output of the last one.
    logits : Tensor[n, vocab]
        At the metric's positions.
    keys, values : list of Tensor or None
        Per block [n, kv_head, length, d_head], where positions can be reused.
    projected : dict of list of Tensor[n, length, units]
        Outputs of the projections that were asked for, by block.
    """

    calls: list[dict[str, Any]]
    hidden: list[Tensor]
    logits: Tensor
    keys: list[Tensor] | None = None
    values: list[Tensor] | None = None
    projected: dict[int, list[Tensor]] = field(default_factory=dict)


def capture(
    subject: "Subject",
    trunk: Trunk,
    inputs: Inputs,
    positions: Tensor,
    *,
    cache: bool,
    projections: Mapping[int, Sequence[nn.Module]] = MappingProxyType({}),
) -> Capture:
    """Run the model once, unedited, and keep what each block received, and what the `projections` of some blocks gave."""
    from microtome.subject.run import logits_of, one_row

    blocks = subject.module.get_submodule(trunk.blocks)
    calls: list[dict[str, Any]] = []
    hidden: list[Tensor] = []
    projected: dict[int, list[Tensor]] = {block: [] for block in projections}
    handles = []
    site = Site("block", trunk.blocks, "input")

    def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
        key, tensor = first_input(args, kwargs, site)
        named = {**dict(zip(inspect.signature(module.forward).parameters, args)), **kwargs}
        named.pop(key if isinstance(key, str) else next(iter(named)))
        hidden.append(tensor)
        calls.append(_without_cache(named))

    def after(_module: nn.Module, _args: tuple, output: Any) -> None:
        hidden.append(output if isinstance(output, Tensor) else output[0])

    past = None
    if cache and "past_key_values" in inspect.signature(subject.module.forward).parameters:
        from transformers import DynamicCache

        past = DynamicCache()
    try:
        handles += [b.register_forward_pre_hook(before, with_kwargs=True) for b in blocks]  # type: ignore[union-attr]
        handles.append(list(blocks)[-1].register_forward_hook(after))  # type: ignore[arg-type]
        for block, modules in projections.items():
            kept = projected[block].append
            handles += [m.register_forward_hook(lambda _m, _args, output, kept=kept: kept(output)) for m in modules]
        with torch.no_grad():
            extra = inputs if past is None else _with_cache(inputs, past)
            output = subject.call(extra, positions)
    finally:
        for handle in handles:
            handle.remove()
    result = Capture(calls, hidden, one_row(logits_of(output)), projected=projected)
    if past is not None:
        layers = getattr(past, "layers", [])
        full = [getattr(layer, "keys", None) for layer in layers]
        if len(full) == len(blocks) and all(  # type: ignore[arg-type]
            isinstance(k, Tensor) and k.shape[-2] == inputs.main.shape[1] for k in full
        ):
            result.keys, result.values = full, [layer.values for layer in layers]
    return result


#: What blocks call the cache that they are given.
CACHES = ("past_key_values", "past_key_value", "layer_past", "cache_params")


class _Cached(Inputs):
    """Inputs that also carry a cache object to the module."""

    def items(self):
        return [*self.tensors.items(), ("past_key_values", self.past), ("use_cache", True)]


def _with_cache(inputs: Inputs, past: Any) -> Inputs:
    extended = _Cached(inputs.tensors)
    object.__setattr__(extended, "past", past)
    return extended


def _without_cache(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: (None if k in CACHES else False if k == "use_cache" else v) for k, v in kwargs.items()}


class PrefixCache:
    """Keys and values of positions before the window, in the shape of a transformers cache; it is never written to."""

    def __init__(self, keys: list[Tensor], values: list[Tensor], start: int) -> None:
        self.keys, self.values, self.start = keys, values, start

    def update(self, key: Tensor, value: Tensor, layer: int, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of prefix and window, the prefix repeated for stacked copies of the batch."""
        times = key.shape[0] // self.keys[layer].shape[0]
        return (self._join(self.keys[layer], key, times), self._join(self.values[layer], value, times))

    def _join(self, prefix: Tensor, new: Tensor, times: int) -> Tensor:
        return torch.cat([prefix[:, :, : self.start].repeat(times, 1, 1, 1), new], dim=2)

    def get_seq_length(self, *_args: Any) -> int:
        """Positions before the window."""
        return self.start


def replay_block(
    block: nn.Module, call: dict[str, Any], hidden: Tensor, rows: int, start: int, prefix: PrefixCache | None
) -> Tensor:
    """One block on stacked copies of the batch, from position `start` on.

    Parameters
    ----------
    block : nn.Module
    call : dict
        Its arguments as the block received them for `rows` examples, by name, without the hidden states.
    hidden : Tensor[copies * rows, length - start, d]
    rows : int
    start : int
    prefix : PrefixCache or None
        Needed when start > 0.
    """
    times = hidden.shape[0] // rows
    length = hidden.shape[1] + start
    kwargs = {k: fit(v, rows, times, start, length) for k, v in call.items()}
    if prefix is not None:
        kwargs[next((name for name in CACHES if name in kwargs), CACHES[0])] = prefix
        if kwargs.get("attention_mask") is None:
            kwargs["attention_mask"] = causal_mask(hidden, start)
    output = block(hidden, **kwargs)
    return output if isinstance(output, Tensor) else output[0]


def fit(value: Any, rows: int, times: int, start: int, length: int) -> Any:
    """A block argument for stacked copies and a window: batch axes repeated, position axes cut."""
    if isinstance(value, (tuple, list)) and value and all(isinstance(v, Tensor) for v in value):
        return type(value)(fit(v, rows, times, start, length) for v in value)
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    if start:
        if value.ndim == 4 and value.shape[2] == length:  # mask [n or 1, 1, query, key]
            value = value[:, :, start:]
        elif value.ndim >= 2 and value.shape[1] == length:  # position ids, rotary tables [n or 1, length, ...]
            value = value[:, start:]
        elif value.ndim == 1 and value.shape[0] == length:
            value = value[start:]
    if times > 1 and value.ndim >= 2 and rows > 1 and value.shape[0] == rows:
        value = value.repeat(times, *[1] * (value.ndim - 1))
    return value


def causal_mask(hidden: Tensor, start: int) -> Tensor:
    """Additive mask [1, 1, window, start + window] that lets each position see itself and what is before it."""
    width = hidden.shape[1]
    key, query = torch.arange(start + width, device=hidden.device), torch.arange(start, start + width, device=hidden.device)
    mask = torch.zeros(width, start + width, dtype=hidden.dtype, device=hidden.device)
    return mask.masked_fill(key[None] > query[:, None], torch.finfo(hidden.dtype).min)[None, None]
