"""Gates of torch's recurrent layers, which a hook cannot see: the same recurrence, unrolled one step at a time."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from microtome.errors import ShapeError, UsageError

#: edit(name, value [batch, unit], t) -> the value to go on with.
GateEdit = Callable[[str, Tensor, int], Tensor]
Touch = Callable[[str, Tensor], Tensor]
State = Tensor | tuple[Tensor, ...]

GATES = {
    "LSTM": ("i", "f", "g", "o", "cell", "hidden"),
    "GRU": ("r", "z", "n", "hidden"),
    "RNN_TANH": ("hidden",),
    "RNN_RELU": ("hidden",),
}


def gate_names(module: nn.RNNBase) -> list[str]:
    """Names of all gates of a layer stack, e.g. ``l0.i``, ``l0.reverse.i``, in the order in which they are computed.

    Raises
    ------
    UsageError
        When the module is not an nn.RNN, nn.GRU or nn.LSTM.

    Examples
    --------
    >>> gate_names(nn.GRU(3, 5))
    ['l0.r', 'l0.z', 'l0.n', 'l0.hidden']
    """
    if not isinstance(module, nn.RNNBase) or module.mode not in GATES:
        raise UsageError(f"gates need an nn.RNN, nn.GRU or nn.LSTM, got {type(module).__name__}.")
    prefixes = [_prefix(layer, way) for layer, way in _passes(module)]
    return [f"{prefix}.{gate}" for prefix in prefixes for gate in GATES[module.mode]]


def gates(
    module: nn.RNNBase, x: Tensor, state: State | None = None, edit: GateEdit | None = None
) -> tuple[Tensor, State, dict[str, Tensor]]:
    """Output, last state and every gate at every step of a recurrent layer stack.

    LSTM: i, f, o = sigmoid(...), g = tanh(...), cell' = f cell + i g, hidden' = o tanh(cell') (projected if the layer
    projects). GRU: r, z = sigmoid(...), n = tanh(W_n x + b_n + r (U_n h + c_n)), hidden' = (1 - z) n + z hidden.
    RNN: hidden' = tanh or relu of (W x + b + U hidden + c).

    Parameters
    ----------
    module : nn.RNN, nn.GRU or nn.LSTM
        Any number of layers, one or both directions, with or without biases and projections.
    x : Tensor[batch, time, feature]
        [time, batch, feature] where the module is not `batch_first`; without a batch axis [time, feature].
    state : optional
        Initial state as torch takes it; default zeros.
    edit : callable, optional
        ``edit(name, value [batch, unit], t) -> value``, called for each gate at each step; what it returns is used from
        there on. `t` is the place in the sequence, also in the reverse direction (which runs from the end).

    Returns
    -------
    output, state
        As the module returns them.
    gates : dict of str to Tensor[batch, time, unit]
        By name (see `gate_names`), after edits, always with batch first.

    Raises
    ------
    UsageError
        For other modules, packed sequences, and training mode with dropout between layers.
    ShapeError
        When x does not fit the module, or an edit returns another shape.

    Notes
    -----
    The output agrees with torch's fused kernels up to rounding (about 1e-7 in float32).
    Null: gates of a random network carry the input linearly mixed; compare with a re-drawn twin.
    Misleads when read as memory: a forget gate near 1 keeps a cell that nothing may read.

    Examples
    --------
    >>> lstm = nn.LSTM(3, 5, batch_first=True)
    >>> output, _, values = gates(lstm, torch.zeros(2, 4, 3))
    >>> output.shape, values["l0.f"].shape
    (torch.Size([2, 4, 5]), torch.Size([2, 4, 5]))

    References
    ----------
    Hochreiter and Schmidhuber 1997; Cho et al. 2014.
    """
    gate_names(module)
    _check(module, x)
    batched = x.ndim == 3
    values = x if batched else x.unsqueeze(1 if not module.batch_first else 0)
    values = values if module.batch_first else values.transpose(0, 1)
    start = _start(module, values, state, batched)
    seen: dict[str, list[Tensor]] = {}
    last: list[tuple[Tensor, ...]] = []
    outputs: list[Tensor] = []
    for k, (layer, way) in enumerate(_passes(module)):
        output, final = _one_way(module, layer, way, values, tuple(s[k] for s in start), edit, seen)
        outputs.append(output)
        last.append(final)
        if len(outputs) == 1 + module.bidirectional:
            values, outputs = torch.cat(outputs, dim=-1), []
    output = values if module.batch_first else values.transpose(0, 1)
    states = tuple(torch.stack(parts) for parts in zip(*last))
    if not batched:
        output, states = output.squeeze(0 if module.batch_first else 1), tuple(s.squeeze(1) for s in states)
    stacked = {name: torch.stack(steps, dim=1) for name, steps in seen.items()}
    return output, states if module.mode == "LSTM" else states[0], stacked


def _one_way(
    module: nn.RNNBase,
    layer: int,
    way: int,
    x: Tensor,
    state: tuple[Tensor, ...],
    edit: GateEdit | None,
    seen: dict[str, list[Tensor]],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction over x [batch, time, feature]; gates are appended to `seen` in order of place."""
    suffix = f"l{layer}" + ("_reverse" if way else "")
    weight, bias = getattr(module, f"weight_hh_{suffix}"), getattr(module, f"bias_hh_{suffix}", None)
    projection = getattr(module, f"weight_hr_{suffix}", None)
    driven = linear(x, getattr(module, f"weight_ih_{suffix}"), getattr(module, f"bias_ih_{suffix}", None))
    length, steps = x.shape[1], {}
    for t in reversed(range(length)) if way else range(length):
        touch = _toucher(_prefix(layer, way), t, edit, steps)
        recurrent = linear(state[0], weight, bias)
        if module.mode == "LSTM":
            state = _lstm(driven[:, t], recurrent, state[1], projection, touch)
        elif module.mode == "GRU":
            state = _gru(driven[:, t], recurrent, state[0], touch)
        else:
            total = driven[:, t] + recurrent
            state = (touch("hidden", total.tanh() if module.mode == "RNN_TANH" else total.relu()),)
    for name, by_place in steps.items():
        seen[name] = [by_place[t] for t in range(length)]
    return torch.stack(seen[f"{_prefix(layer, way)}.hidden"], dim=1), state


def _lstm(driven: Tensor, recurrent: Tensor, cell: Tensor, projection: Tensor | None, touch: Touch):
    i, f, g, o = (driven + recurrent).chunk(4, dim=-1)
    i, f = touch("i", i.sigmoid()), touch("f", f.sigmoid())
    g, o = touch("g", g.tanh()), touch("o", o.sigmoid())
    cell = touch("cell", f * cell + i * g)
    hidden = o * cell.tanh()
    return touch("hidden", hidden if projection is None else linear(hidden, projection)), cell


def _gru(driven: Tensor, recurrent: Tensor, hidden: Tensor, touch: Touch):
    (xr, xz, xn), (hr, hz, hn) = driven.chunk(3, dim=-1), recurrent.chunk(3, dim=-1)
    r, z = touch("r", (xr + hr).sigmoid()), touch("z", (xz + hz).sigmoid())
    n = touch("n", (xn + r * hn).tanh())
    return (touch("hidden", n + z * (hidden - n)),)


def _toucher(prefix: str, t: int, edit: GateEdit | None, steps: dict[str, dict[int, Tensor]]) -> Touch:
    """Edits and keeps one gate of step `t`."""

    def touch(gate: str, value: Tensor) -> Tensor:
        name = f"{prefix}.{gate}"
        if edit is not None:
            new = edit(name, value, t)
            if not isinstance(new, Tensor) or new.shape != value.shape:
                got = list(new.shape) if isinstance(new, Tensor) else type(new).__name__
                raise ShapeError(f"the edit of '{name}' at step {t} must return {list(value.shape)}, it returned {got}.")
            value = new
        steps.setdefault(name, {})[t] = value
        return value

    return touch


def _passes(module: nn.RNNBase) -> Sequence[tuple[int, int]]:
    """(layer, direction) in the order of torch's states."""
    return list(product(range(module.num_layers), range(1 + module.bidirectional)))


def _prefix(layer: int, way: int) -> str:
    return f"l{layer}.reverse" if way else f"l{layer}"


def _check(module: nn.RNNBase, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise UsageError(f"gates take a tensor, got {type(x).__name__}. Pad packed sequences first.")
    if x.ndim not in (2, 3) or x.shape[-1] != module.input_size or 0 in x.shape:
        order = "[batch, time, feature]" if module.batch_first else "[time, batch, feature]"
        raise ShapeError(f"the module takes {order} with {module.input_size} features, got {list(x.shape)}.")
    if module.training and module.dropout and module.num_layers > 1:
        raise UsageError("the module drops units between layers at random in training mode. Call module.eval() first.")


def _start(module: nn.RNNBase, x: Tensor, state: State | None, batched: bool) -> tuple[Tensor, ...]:
    """Initial states [layers * directions, batch, unit]: hidden, and for an LSTM the cell."""
    widths = [module.proj_size or module.hidden_size, *([module.hidden_size] if module.mode == "LSTM" else [])]
    shapes = [(len(_passes(module)), x.shape[0], width) for width in widths]
    if state is None:
        return tuple(x.new_zeros(shape) for shape in shapes)
    given = state if isinstance(state, tuple) else (state,)
    given = given if batched else tuple(s.unsqueeze(1) for s in given)
    if [tuple(s.shape) for s in given] != shapes:
        raise ShapeError(f"the state must have shapes {shapes}, got {[tuple(s.shape) for s in given]}.")
    return given
