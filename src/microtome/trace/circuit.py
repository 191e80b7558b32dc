"""Circuit: a set of nodes claimed to carry a behaviour."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microtome.errors import FormatError, UsageError
from microtome.trace.effects import Effects
from microtome.trace.nodes import Node


@dataclass(frozen=True)
class Circuit:
    """Nodes chosen among components.

    Attributes
    ----------
    nodes : tuple of Node
        In the circuit.
    universe : tuple of Node
        All components that were considered; what is outside the circuit is ablated when it is judged.
    scores : dict of str to float
        Why: node -> score.
    task, subject : str
        Name of the task and fingerprint of the subject.
    """

    nodes: tuple[Node, ...]
    universe: tuple[Node, ...]
    scores: dict[str, float] = field(default_factory=dict)
    task: str = ""
    subject: str = ""

    def __post_init__(self) -> None:
        stray = [str(n) for n in self.nodes if n not in set(self.universe)]
        if stray:
            raise UsageError(f"the circuit holds nodes that are not among the components: {stray[:5]}.")

    @classmethod
    def of_effects(cls, effects: Effects, size: int) -> "Circuit":
        """The `size` nodes with the largest absolute effects."""
        if not 0 < size <= len(effects.nodes):
            raise UsageError(f"size must be between 1 and {len(effects.nodes)}, got {size}.")
        scores = {n.short: float(e) for n, e in zip(effects.nodes, effects.effect)}
        return cls(tuple(sorted(effects.top(size))), tuple(effects.nodes), scores, effects.task, effects.subject)

    def without(self, nodes: Iterable[Node]) -> "Circuit":
        """The circuit less some nodes."""
        gone = set(nodes)
        return Circuit(tuple(n for n in self.nodes if n not in gone), self.universe, self.scores, self.task, self.subject)

    def plus(self, nodes: Iterable[Node]) -> "Circuit":
        """The circuit and some more nodes."""
        return Circuit(tuple(sorted({*self.nodes, *nodes})), self.universe, self.scores, self.task, self.subject)

    @property
    def outside(self) -> tuple[Node, ...]:
        """Components that are not in the circuit."""
        inside = set(self.nodes)
        return tuple(n for n in self.universe if n not in inside)

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        from microtome.io import write_json

        write_json(path, {
            "format": "microtome.circuit", "version": 1, "task": self.task, "subject": self.subject, "scores": self.scores,
            "nodes": [_plain(n) for n in self.nodes], "universe": [_plain(n) for n in self.universe],
        })  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> "Circuit":
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            When the file is not a circuit.
        """
        from microtome.io import read_json

        found: Any = read_json(path)
        if not isinstance(found, dict) or found.get("format") != "microtome.circuit":
            raise FormatError(f"'{path}' is not a microtome circuit.")
        try:
            inside, universe = ([Node(**n) for n in found[k]] for k in ("nodes", "universe"))
            scores = {str(k): float(v) for k, v in found["scores"].items()}
            return cls(tuple(inside), tuple(universe), scores, str(found["task"]), str(found["subject"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"'{path}' is a damaged circuit: {error}.") from error

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"Circuit({len(self.nodes)} of {len(self.universe)} nodes: {', '.join(map(str, self.nodes[:12]))})"


def _plain(node: Node) -> dict[str, Any]:
    return {"site": node.site, "head": node.head, "position": node.position, "unit": node.unit}
