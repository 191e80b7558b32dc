"""Gates of recurrent layers as sites: read, edited and differentiated while the layer is unrolled beside its own kernel.

What the layer itself computed goes on unless an edit changed a gate, so recording changes no bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError
from microtome.subject.frame import Frame
from microtome.subject.recurrent import gates
from microtome.subject.site import Site
from microtome.subject.tap import Tap


def gate_site(module: nn.RNNBase, path: str, gate: str) -> Site:
    """The site of one gate [batch, time, unit], e.g. ``lstm:l0.i``."""
    width = module.proj_size if gate.endswith("hidden") and module.proj_size else module.hidden_size
    return Site(f"{path}:{gate}", path, "gate", axes=("batch", "time", "unit"), shape=(width,), gate=gate)


def gate_hook(group: list[Tap], frame: Callable[[Site], Frame]) -> Callable[..., Any]:
    """A forward hook that serves the taps at gates of one recurrent layer."""
    taps = {tap.site.gate: tap for tap in group}

    def hook(module: nn.RNNBase, args: tuple, kwargs: dict, _output: Any) -> Any:
        x = args[0] if args else kwargs["input"]
        if not isinstance(x, Tensor):
            raise UsageError(f"gates take a tensor, the layer received a {type(x).__name__}. Pad packed sequences first.")
        state = args[1] if len(args) > 1 else kwargs.get("hx")
        edit = _Edits(taps, _frame(module, x, taps, frame))
        output, last, values = gates(module, x, state, edit)
        held = {name: tap.keep(values[name]) for name, tap in taps.items() if tap.keep is not None}
        held = {name: value for name, value in held.items() if value is not None}
        if held:  # once more, with the gates tied to the tensors that were given for them
            output, last, _ = gates(module, x, state, edit.again(held))
        return (output, last) if edit.changed or held else None

    return hook


class _Edits:
    """The edits of all gates, step by step: each step is a window of one position."""

    def __init__(self, taps: Mapping[str, Tap], frame: Frame, held: Mapping[str, Tensor] | None = None) -> None:
        self.taps, self.frame, self.held = taps, frame, held
        self.changed = False

    def again(self, held: Mapping[str, Tensor]) -> "_Edits":
        """The same edits, not counted twice, and values whose gradient is that of the given tensors."""
        taps = {name: replace(tap, edits=[replace(p, count=None) for p in tap.edits]) for name, tap in self.taps.items()}
        return _Edits(taps, self.frame, held)

    def __call__(self, name: str, value: Tensor, t: int) -> Tensor:
        tap = self.taps.get(name)
        if tap is None:
            return value
        step = value[:, None]
        for placed in tap.edits:
            step = placed.apply(step, tap.site, self.frame.window(t, 1))
        self.changed = self.changed or not torch.equal(step[:, 0], value)
        value = step[:, 0]
        if self.held and name in self.held:
            tied = self.held[name][:, t]
            value = value + (tied - tied.detach())
        return value


def _frame(module: nn.RNNBase, x: Tensor, taps: Mapping[str, Tap], frame: Callable[[Site], Frame]) -> Frame:
    """Where the real steps are, after checking once that every position asked for exists."""
    rows, length = (1, x.shape[0]) if x.ndim == 2 else x.shape[:2] if module.batch_first else (x.shape[1], x.shape[0])
    whole = frame(next(iter(taps.values())).site).fitted(rows, length)
    for tap in taps.values():
        for placed in tap.edits:
            whole.resolve(placed.edit.position)
    return replace(whole, growing=True)
