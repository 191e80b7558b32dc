"""Everything after a site, as a differentiable function of the site's values.

The values of base inputs are taken once. A forward then runs only what follows the site: the later blocks of a decoder
(from the position that is written, with the keys and values before it from the first run), the later modules of an
`nn.Sequential`, or, for any other module, the whole network with the site overwritten. Each form is checked against
the unedited logits and given up where it does not agree.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import NonFinite, ShapeError
from microtome.subject.frame import Position
from microtome.subject.hooks import Tap, attached
from microtome.subject.inputs import Inputs
from microtome.subject.replay import CACHES, PrefixCache, capture, head_of, main_trunk, replay_block, tail
from microtome.subject.run import logits_of, one_row
from microtome.trace.alignment.cells import Cells

#: Largest difference, relative to the spread of the logits, that a suffix may have from the full forward.
TOLERANCE = 1e-4
#: Rows of one captured forward.
CHUNK = 512


class Suffix:
    """The base values at a site and what the network makes of others in their place.

    Parameters
    ----------
    subject : Subject
    inputs : Inputs
        The base inputs.
    site : str
    position : int, list of int, tensor or None
        Which positions are written; None = all.

    Attributes
    ----------
    values : Tensor[n, ..., d]
        Base values: of heads side by side, of channels place by place.
    logits : Tensor[n, classes]
        Unedited, at the last real token where there are tokens.
    how : str
        "blocks", "sequential" or "full".
    """

    def __init__(self, subject: Any, inputs: Inputs, site: str, position: Position = None) -> None:
        self.subject, self.inputs, self.site = subject, inputs, subject.site(site)
        self.cells = Cells(self.site, inputs.frame_of(self.site).resolve(position))
        trunk = main_trunk(subject)
        self.answers = inputs.stack_frame(trunk.stack.name if trunk else "").stop - 1 if head_of(subject) else None
        self.values, self.logits = self._measure()
        _require_finite(self.values, f"values at {self.site.name}")
        _require_finite(self.logits, "logits")
        self.how, self._forward = "full", self._full
        for how, make in (("blocks", self._blocks), ("sequential", self._sequential)):
            forward = make()
            if forward is not None and self._agrees(forward):
                self.how, self._forward = how, forward
                break

    def __call__(self, values: Tensor, rows: Tensor) -> Tensor:
        """Logits [b, classes] of base inputs `rows` with `values` [b, ..., d] at the site."""
        return self._forward(values, rows)

    def _measure(self) -> tuple[Tensor, Tensor]:
        values, logits = [], []
        for start in range(0, len(self.inputs), CHUNK):
            rows = slice(start, start + CHUNK)
            last = "all" if self.answers is None else self.answers[rows]
            run = self.subject.run(self.inputs[rows], record=[self.site.name], logits=last)
            part = torch.arange(len(self.inputs))[rows]
            values.append(self.cells.read(run[self.site.name], part).clone())
            logits.append(_rows_of_logits(run.logits))
        return torch.cat(values), torch.cat(logits)

    @torch.no_grad()
    def _agrees(self, forward: Callable[[Tensor, Tensor], Tensor]) -> bool:
        rows = torch.arange(min(8, len(self.inputs)))
        try:
            found = forward(self.values[rows], rows)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError):
            return False  # blocks that cannot be run by themselves: the full forward serves
        expected = self.logits[rows]
        spread = max(float(expected.max() - expected.min()), 1e-6)
        return found.shape == expected.shape and float((found - expected).abs().max()) <= TOLERANCE * spread

    def _full(self, values: Tensor, rows: Tensor) -> Tensor:
        inputs = self.inputs[rows]
        tap = Tap(self.site, keep=lambda old: self.cells.write(old, values, rows))
        with attached(self.subject.module, [tap], inputs.frame_of):
            output = self.subject.call(inputs, "all" if self.answers is None else self.answers[rows])
        return _rows_of_logits(logits_of(output))

    def _sequential(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        module = self.subject.module
        path = self.site.module
        if not isinstance(module, nn.Sequential) or path not in module._modules or self.site.at not in ("input", "output"):
            return None
        names = list(module._modules)
        rest = module[names.index(path) + (self.site.at == "output") :]

        def forward(values: Tensor, rows: Tensor) -> Tensor:
            whole = values if self.cells.columns is None else self.cells.write(self._site_values(rows), values, rows)
            return _rows_of_logits(logits_of(rest(self.cells.unfold(whole) if self.cells.columns is None else whole)))

        return forward

    def _site_values(self, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return self.subject.run(self.inputs[rows], record=[self.site.name], logits="none")[self.site.name]

    def _blocks(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        trunk = main_trunk(self.subject)
        site, subject = self.site, self.subject
        if trunk is None or self.answers is None or site.block is None or site.stack != trunk.stack.name:
            return None
        blocks: list[nn.Module] = list(subject.module.get_submodule(trunk.blocks))  # type: ignore[arg-type]
        leaf = site.name.rpartition(".")[2]
        direct = leaf in ("resid_pre", "resid_post")
        first = site.block + (leaf == "resid_post")
        columns = self.cells.columns
        causal = trunk.stack.causal and bool((self.inputs.frame.start == 0).all())
        start = int(columns.min()) if causal and columns is not None else 0
        kept = _captured(subject, trunk, self.inputs, self.answers, first, start)
        start = kept.start
        finish, length, answers = tail(subject), self.inputs.main.shape[1], self.answers

        def forward(values: Tensor, rows: Tensor) -> Tensor:
            hidden = kept.hidden[rows]
            window = self.cells.window(start)
            if direct:
                hidden = window.write(hidden, values, rows)
            prefix = PrefixCache(kept.of_rows(kept.keys, rows), kept.of_rows(kept.values, rows), start) if start else None
            frame = self.inputs[rows].frame.window(start, length - start)
            for i, block in enumerate(blocks[first:]):
                call = _call_rows(kept.calls[i], rows, len(self.inputs))
                if i == 0 and not direct:
                    tap = Tap(site, keep=lambda old: window.write(old, values, rows))
                    with attached(subject.module, [tap], lambda _site: frame):
                        hidden = replay_block(block, call, hidden, len(rows), start, prefix)
                else:
                    hidden = replay_block(block, call, hidden, len(rows), start, prefix)
            return finish(hidden[torch.arange(len(rows)), answers[rows] - start])

        return forward


class _Kept:
    """What the blocks from the site on received, for all base inputs."""

    def __init__(self, hidden: Tensor, calls: list[dict], keys: list, values: list, start: int) -> None:
        self.hidden, self.calls, self.keys, self.values, self.start = hidden, calls, keys, values, start

    @staticmethod
    def of_rows(tensors: list, rows: Tensor) -> list:
        """Keys or values of some base inputs; None for the blocks before the site."""
        return [None if t is None else t[rows] for t in tensors]


def _captured(subject: Any, trunk: Any, inputs: Inputs, answers: Tensor, first: int, start: int) -> _Kept:
    parts = []
    for begin in range(0, len(inputs), CHUNK):
        rows = slice(begin, begin + CHUNK)
        found = capture(subject, trunk, inputs[rows], answers[rows], cache=start > 0)
        parts.append((found.hidden[first], found.calls[first:], found.keys, found.values))
        del found
    if any(keys is None for _, _, keys, _ in parts):
        start = 0
    sizes = [len(hidden) for hidden, _, _, _ in parts]
    calls = [{k: _joined([p[1][i][k] for p in parts], sizes) for k in parts[0][1][i]} for i in range(len(parts[0][1]))]
    keys, values = ([], []) if not start else (
        [None if l < first else torch.cat([p[part][l][:, :, :start] for p in parts]) for l in range(len(parts[0][2]))]
        for part in (2, 3))  # fmt: skip
    return _Kept(torch.cat([p[0] for p in parts])[:, start:], calls, keys, values, start)


def _joined(values: list[Any], sizes: list[int]) -> Any:
    """An argument of a block over all chunks: tensors with a row per input one after another, others as they are."""
    one = values[0]
    if isinstance(one, (tuple, list)) and one and all(isinstance(v, Tensor) for v in one):
        return type(one)(_joined([v[i] for v in values], sizes) for i in range(len(one)))
    if isinstance(one, Tensor) and one.ndim >= 2 and all(len(v) == n for v, n in zip(values, sizes)) and sizes[0] > 1:
        return torch.cat(values)
    return one


def _call_rows(call: dict[str, Any], rows: Tensor, n: int) -> dict[str, Any]:
    def pick(value: Any) -> Any:
        if isinstance(value, (tuple, list)) and value and all(isinstance(v, Tensor) for v in value):
            return type(value)(pick(v) for v in value)
        return value[rows] if isinstance(value, Tensor) and value.ndim >= 2 and n > 1 and len(value) == n else value

    return {k: None if k in CACHES else pick(v) for k, v in call.items()}


def _rows_of_logits(logits: Tensor) -> Tensor:
    logits = one_row(logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ShapeError(
            f"an interchange is judged by the class that the network names, which takes logits [n, classes >= 2]; this "
            f"subject gives {list(logits.shape)}. Wrap the module so that it returns one number per class."
        )
    return logits


def _require_finite(tensor: Tensor, what: str) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise NonFinite(f"{int((~torch.isfinite(tensor)).sum())} of {tensor.numel()} {what} are NaN or infinite.")
