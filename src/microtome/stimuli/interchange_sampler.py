"""A balanced sample of interchange interventions from a causal model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from microtome.errors import Degenerate, UsageError, nearest
from microtome.rng import derive, rng
from microtome.stimuli.causal import CausalModel, Setting
from microtome.stimuli.interchange_pairs import Interchanges

#: Rounds of draws before a kind of counterfactual that is still too rare is taken with repetition.
PATIENCE = 64


def interchanges(
    model: CausalModel,
    n: int,
    render: Callable[[list[Setting], int], Any],
    label: Callable[[Setting], int],
    *,
    variables: Sequence[str | Sequence[str]] | None = None,
    name: str = "interchanges",
    seed: int = 0,
) -> Interchanges:
    """Draw interchange interventions from a causal model, balanced on targets, labels and changed answers.

    Parameters
    ----------
    model : CausalModel
    n : int
        Pairs.
    render : callable
        (settings of the inputs, seed) -> texts or a tensor with one row for each.
    label : callable
        A setting of all variables -> class or token id.
    variables : sequence of names, or of groups of names, optional
        What is interchanged: each entry alone; a group together, each member from a source of its own. Default: every inner
        variable alone, and all of them together.
    name : str
    seed : int

    Returns
    -------
    Interchanges
        Every entry of `variables` equally often; within it every label; within that, changed and unchanged answers.

    Raises
    ------
    UsageError
        An unknown variable.
    Degenerate
        An entry of which no interchange changes the answer.
    """
    import torch

    inner = [v for v in model.variables if v not in model.inputs and v not in model.outputs] or model.inputs
    sets = [(v,) if isinstance(v, str) else tuple(v) for v in variables] if variables is not None else [
        *((v,) for v in inner), *([tuple(inner)] if len(inner) > 1 else [])]  # fmt: skip
    named = list(dict.fromkeys(v for s in sets for v in s))
    for v in named:
        if v not in model.variables:
            raise UsageError(f"no variable {v!r} in the causal model.{nearest(v, model.variables)}")
    rows = [row for i, s in enumerate(sets) for row in _balanced(model, s, label, _shares(n, len(sets))[i], seed)]
    order = rng(seed, "interchanges order").permutation(len(rows))
    rows = [rows[i] for i in order]
    sources: dict[str, Any] = {}
    for v in named:
        given = [row.sources.get(v, row.base) for row in rows]
        sources[v] = render([_inputs(model, s) for s in given], derive(seed, "source", v))
    chosen = {v: torch.tensor([v in row.sources for row in rows]) for v in named}
    labels, before = (torch.tensor([getattr(row, what) for row in rows]) for what in ("label", "before"))
    base = render([_inputs(model, row.base) for row in rows], derive(seed, "base"))
    return Interchanges(name, base, sources, labels, before, chosen)


@dataclass(frozen=True)
class _Row:
    base: Setting
    sources: dict[str, Setting]
    label: int
    before: int


def _inputs(model: CausalModel, setting: Setting) -> Setting:
    return {v: setting[v] for v in model.inputs}


def _shares(n: int, parts: int) -> list[int]:
    return [n // parts + (i < n % parts) for i in range(parts)]


def _balanced(model: CausalModel, targets: tuple[str, ...], label: Any, n: int, seed: int) -> list[_Row]:
    """`n` rows for one set of targets, equally many of every label, and of changed and unchanged answers within it."""
    cells: dict[int, dict[bool, list[_Row]]] = {}
    known: dict[tuple, Setting] = {}

    def run(setting: Setting) -> Setting:
        key = tuple(setting.items())
        if key not in known:
            known[key] = model.run(setting)
        return known[key]

    for attempt in range(PATIENCE):
        where = derive(seed, "interchanges", *targets, attempt)
        bases = model.sample(n, where)
        given = {v: model.sample(n, derive(where, v)) for v in targets}
        for i, base in enumerate(bases):
            values = {v: run(given[v][i])[v] for v in targets}
            before, after = label(run(base)), label(run({**base, **values}))
            row = _Row(base, {v: given[v][i] for v in targets}, after, before)
            cells.setdefault(after, {True: [], False: []})[after != before].append(row)
        if all(len(part) * 2 * len(cells) >= n for cell in cells.values() for part in cell.values()):
            break
    if not any(cell[True] for cell in cells.values()):
        raise Degenerate(f"no interchange of {', '.join(targets)} changes the answer: nothing could be told from such pairs.")
    rows: list[_Row] = []
    for value, share in zip(sorted(cells), _shares(n, len(cells))):
        parts = [part for part in cells[value].values() if part]
        for part, count in zip(parts, _shares(share, len(parts))):
            rows += [part[i % len(part)] for i in range(count)]
    return rows
