"""Causal models: a hypothesis about how a behaviour is computed, that can be run and intervened on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import numpy as np

from microtome.errors import UsageError, nearest
from microtome.rng import rng

Setting = dict[str, Any]


class Counterfactual(NamedTuple):
    """`base` run with `variables` set to the values they take in `source`; `label` is the resulting setting."""

    base: Setting
    source: Setting
    variables: tuple[str, ...]
    label: Setting


@dataclass(frozen=True)
class CausalModel:
    """Variables that are computed from their parents; inputs are the variables without parents.

    Parameters
    ----------
    variables : sequence of str
    values : dict of variable -> list of values
        Needed for the inputs; optional for the others, then checked when the model runs.
    parents : dict of variable -> list of variables
        Inputs have none.
    functions : dict of variable -> callable
        For each variable with parents, called with the parents' values in order.

    Raises
    ------
    UsageError
        A cycle, an unknown name, a missing function or input range, a value outside its range.

    Examples
    --------
    >>> m = CausalModel(["x", "y", "z", "p", "o"], {k: [0, 1, 2] for k in "xyz"}, {"p": ["x", "y"], "o": ["p", "z"]},
    ...                 {"p": lambda x, y: x + y, "o": lambda p, z: p + z})
    >>> m.run({"x": 1, "y": 2, "z": 0})["o"]
    3
    >>> m.interchange({"x": 1, "y": 2, "z": 1}, {"x": 0, "y": 0, "z": 2}, ["p"])["o"]
    1

    References
    ----------
    Geiger, Lu, Icard, Potts (2021). Causal abstractions of neural networks. https://arxiv.org/abs/2106.02997
    """

    variables: Sequence[str]
    values: Mapping[str, Sequence[Any]]
    parents: Mapping[str, Sequence[str]]
    functions: Mapping[str, Callable[..., Any]]

    def __post_init__(self) -> None:
        named = [*self.values, *self.parents, *self.functions, *(p for ps in self.parents.values() for p in ps)]
        for name in named:
            self._known(name)
        for name in self.variables:
            if self.parents.get(name) and name not in self.functions:
                raise UsageError(f"variable {name!r} has parents {list(self.parents[name])} but no function.")
            if not self.parents.get(name) and not len(self.values.get(name, ())):
                raise UsageError(f"input {name!r} has no parents, so it needs a list of values.")
        try:
            order = tuple(TopologicalSorter({v: self.parents.get(v, ()) for v in self.variables}).static_order())
        except CycleError as error:
            raise UsageError(f"the causal model has a cycle: {' -> '.join(error.args[1])}.") from None
        object.__setattr__(self, "_order", order)

    def _known(self, name: str) -> None:
        if name not in self.variables:
            close = nearest(str(name), self.variables)
            raise UsageError(f"no variable {name!r}; known: {list(self.variables)}.{close}")

    @property
    def inputs(self) -> list[str]:
        """Variables without parents."""
        return [v for v in self.variables if not self.parents.get(v)]

    @property
    def outputs(self) -> list[str]:
        """Variables that nothing is computed from."""
        used = {p for ps in self.parents.values() for p in ps}
        return [v for v in self.variables if v not in used]

    def run(self, inputs: Mapping[str, Any]) -> Setting:
        """All variables, given the inputs; a given variable that has parents is held at its value (an intervention)."""
        for name in inputs:
            self._known(name)
        setting: Setting = {}
        for name in self._order:  # type: ignore[attr-defined]
            if name in inputs:
                setting[name] = inputs[name]
            elif not self.parents.get(name):
                raise UsageError(f"input {name!r} is missing; the inputs are {self.inputs}.")
            else:
                setting[name] = self.functions[name](*(setting[p] for p in self.parents[name]))
            if name in self.values and setting[name] not in self.values[name]:
                allowed = list(self.values[name])
                raise UsageError(f"variable {name!r} took the value {setting[name]!r}, outside {allowed}.")
        return {name: setting[name] for name in self.variables}

    def interchange(self, base: Mapping[str, Any], source: Mapping[str, Any], variables: Sequence[str]) -> Setting:
        """All variables of `base` when `variables` are set to what they are in `source`."""
        taken = self.run(source)
        for name in variables:
            self._known(name)
        return self.run({**base, **{name: taken[name] for name in variables}})

    def sample(self, n: int, seed: int = 0) -> list[Setting]:
        """`n` settings of the inputs, each drawn uniformly from its values."""
        return self._draw(n, rng(seed, "causal sample"))

    def _draw(self, n: int, random: np.random.Generator) -> list[Setting]:
        picks = {name: random.integers(len(self.values[name]), size=n) for name in self.inputs}
        return [{name: self.values[name][int(pick[i])] for name, pick in picks.items()} for i in range(n)]

    def counterfactuals(self, n: int, seed: int = 0, variables: Sequence[str] | None = None) -> list[Counterfactual]:
        """`n` interchange interventions on `variables`, or, when None, each on one inner variable drawn at random.

        With no inner variable (inputs feed the outputs directly) the inputs are interchanged.
        """
        random = rng(seed, "causal counterfactuals")
        bases, sources = self._draw(n, random), self._draw(n, random)
        inner = [v for v in self.variables if v not in self.inputs and v not in self.outputs] or self.inputs
        picks = random.integers(len(inner), size=n)
        chosen = [tuple(variables) if variables is not None else (inner[int(p)],) for p in picks]
        return [Counterfactual(b, s, c, self.interchange(b, s, c)) for b, s, c in zip(bases, sources, chosen)]
