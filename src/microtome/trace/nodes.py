"""Nodes: the places that a circuit is made of, at any granularity, with one way to patch them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from microtome.errors import SiteError, UsageError
from microtome.subject.edit import Edit, ablate, patch

Kind = Literal["layer_position", "layer", "head", "mlp", "component", "head_position", "neuron"]
KINDS = ("layer_position", "layer", "head", "mlp", "component", "head_position", "neuron")


@dataclass(frozen=True, order=True)
class Node:
    """A site, or one head, position or unit of it.

    Attributes
    ----------
    site : str
    head, position, unit : int or None
        None = all. Positions count from the first real token.
    """

    site: str
    head: int | None = None
    position: int | None = None
    unit: int | None = None

    @property
    def layer(self) -> int:
        """Index of the block, -1 outside the blocks."""
        match = re.search(r"blocks\.(\d+)\.", self.site)
        return int(match[1]) if match else -1

    @property
    def short(self) -> str:
        """The short name that circuit papers use: a3.h5, m3, or the site with what is chosen of it."""
        base = self.site
        if self.site.endswith("attn.z") and self.head is not None:
            base = f"a{self.layer}.h{self.head}"
        elif self.site.endswith("mlp.out"):
            base = f"m{self.layer}"
        elif self.head is not None:
            base = f"{base}.h{self.head}"
        base += f"[{self.unit}]" if self.unit is not None else ""
        return base + (f"@{self.position}" if self.position is not None else "")

    def patch(self, source: Tensor) -> Edit:
        """The edit that sets this node to its value in `source`, a tensor like the whole site."""
        return patch(self.site, source, head=self.head, position=self.position, unit=self.unit)

    def ablate(self, value: Tensor | float) -> Edit:
        """The edit that sets this node to `value`."""
        return ablate(self.site, value=value, head=self.head, position=self.position, unit=self.unit)

    def __str__(self) -> str:
        return self.short

    @classmethod
    def parse(cls, text: str) -> "Node":
        """The node that prints as `text` (a3.h5, m3, site.h5, site[4], each with @position).

        >>> Node.parse("a3.h5@2") == Node("blocks.3.attn.z", head=5, position=2)
        True
        """
        match = re.fullmatch(r"(?P<site>.+?)(?:\.h(?P<head>\d+))?(?:\[(?P<unit>\d+)\])?(?:@(?P<position>\d+))?", text)
        if match is None:
            raise UsageError(f"a node prints as 'a3.h5', 'm3', 'site[4]' or with '@position', got {text!r}.")
        site = match["site"]
        site = re.sub(r"^a(\d+)$", r"blocks.\1.attn.z", re.sub(r"^m(\d+)$", r"blocks.\1.mlp.out", site))
        number = {k: None if match[k] is None else int(match[k]) for k in ("head", "unit", "position")}
        return cls(site, number["head"], number["position"], number["unit"])


def nodes(subject: Any, kind: Kind, *, length: int = 0, sites: Iterable[str] = ()) -> list[Node]:
    """All nodes of one granularity.

    Parameters
    ----------
    subject : Subject
    kind : str
        "layer" (residual stream before each block), "layer_position" (the same at each position), "head" (attn.z of each
        head), "head_position", "mlp" (each MLP's output), "component" (heads and MLPs), "neuron" (units of `sites`).
    length : int
        Number of positions, for the kinds by position.
    sites : iterable of str
        For "neuron", or to choose the sites of the other kinds.

    Raises
    ------
    SiteError
        When the subject lacks such sites, e.g. heads in a convolutional network.
    """
    if kind not in KINDS:
        raise UsageError(f"nodes must be one of {KINDS}, got {kind!r}.")
    if kind == "neuron":
        return [Node(s, unit=u) for s in sites for u in range(subject.site(s).shape[-1])]
    if kind == "component":
        return nodes(subject, "head") + nodes(subject, "mlp") if _has(subject, "*mlp.out") else nodes(subject, "head")
    pattern = {"layer": "*resid_pre", "layer_position": "*resid_pre", "mlp": "*mlp.out"}.get(kind, "*attn.z")
    found = [subject.site(s) for s in sites] or [s for s in subject.sites(pattern) if s.block is not None]
    if not found:
        raise SiteError(
            f"{subject.name} has no sites '{pattern}', so it has no nodes of kind '{kind}'. "
            "Name sites yourself: nodes(subject, 'layer', sites=[...])."
        )
    if kind in ("layer", "mlp"):
        return [Node(s.name) for s in found]
    if kind == "layer_position":
        return [Node(s.name, position=p) for s in found for p in range(length)]
    heads = [Node(s.name, head=h) for s in found for h in range(s.shape[0])]
    if kind == "head":
        return heads
    return [Node(n.site, head=n.head, position=p) for n in heads for p in range(length)]


def _has(subject: Any, pattern: str) -> bool:
    return any(s.block is not None for s in subject.sites(pattern))


def as_nodes(subject: Any, wanted: "Kind | Iterable[Node | str]", length: int) -> list[Node]:
    """Nodes from a kind, or from nodes and their names."""
    if isinstance(wanted, str):
        return nodes(subject, wanted, length=length)  # type: ignore[arg-type]
    listed = [n if isinstance(n, Node) else Node.parse(str(n)) for n in wanted]
    if not listed:
        raise UsageError("no nodes were given.")
    for node in listed:
        subject.site(node.site)
    return listed
