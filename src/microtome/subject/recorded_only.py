"""A subject of which only recordings exist."""

from collections.abc import Mapping, Sequence
from typing import Any

from microtome.errors import NotEditable
from microtome.subject.site import Site


class RecordedOnly:
    """A subject of which only recordings exist: a brain, an activation dump. It has sites, and cannot be run or edited."""

    def __init__(self, name: str, sites: Mapping[str, Site] | Sequence[str]) -> None:
        self.name = name
        self._names = list(sites)

    def sites(self) -> list[str]:
        """Names of the recorded sites."""
        return self._names

    def run(self, *_args: Any, **_options: Any) -> None:
        """Refused: there is nothing to run."""
        raise NotEditable(f"'{self.name}' is a recording: it cannot be run or edited. Methods on recordings work.")

    edit = sweep = gradients = record = run

    def __repr__(self) -> str:
        return f"RecordedOnly({self.name}: {', '.join(self._names)})"
