"""Edges: the direct path from one node to the input of another, or to the logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from microtome.errors import SiteError, UsageError
from microtome.subject.edit import Edit
from microtome.trace.nodes import Node


@dataclass(frozen=True)
class Edge:
    """What `receiver` takes from `sender` directly, not through other components.

    Attributes
    ----------
    sender : Node
    receiver : Node or None
        The query, key or value of a head, e.g. ``Node("blocks.5.attn.q", head=3)``; the input of an MLP, named by the MLP
        (``Node("blocks.5.mlp.out")``, m5); None = the logits.

    Examples
    --------
    >>> str(Edge(Node("blocks.0.attn.z", head=1), Node("blocks.2.attn.k", head=3)))
    'a0.h1->blocks.2.attn.k.h3'
    """

    sender: Node
    receiver: Node | None = None

    def __post_init__(self) -> None:
        require_receivers([] if self.receiver is None else [self.receiver], mlps=True)

    @property
    def short(self) -> str:
        """sender->receiver."""
        return f"{self.sender}->{self.receiver or 'logits'}"

    @property
    def site(self) -> str:
        """The sender's site."""
        return self.sender.site

    @property
    def layer(self) -> int:
        """The sender's block."""
        return self.sender.layer

    @property
    def head(self) -> int | None:
        """The sender's head."""
        return self.sender.head

    @property
    def position(self) -> int | None:
        """The sender's position."""
        return self.sender.position

    @property
    def unit(self) -> int | None:
        """The sender's unit."""
        return self.sender.unit

    def __str__(self) -> str:
        return self.short

    def __lt__(self, other: "Edge") -> bool:
        return self._key < other._key

    @property
    def _key(self) -> tuple:
        return (self.sender, self.receiver is None, self.receiver or self.sender)


def require_receivers(receivers: Sequence[Node], *, mlps: bool = False) -> None:
    """Refuse receivers that are no query, key or value of a head (nor an MLP): only there an input is apart from the stream."""
    bad = [str(t) for t in receivers if t.site.rpartition(".")[2] not in ("q", "k", "v") and not (mlps and _is_mlp(t.site))]
    if bad:
        also = ", MLPs" if mlps else ""
        raise UsageError(f"receivers must be the logits{also}, or queries, keys or values of heads; got {bad}.")


def _is_mlp(site: str) -> bool:
    return site.endswith("mlp.out")


def other_components(subject: Any, *, mlps: bool = True) -> list[str]:
    """Sites that are held while a value travels along direct paths: all heads, and all MLPs if asked."""
    patterns = ["*attn.z", "*mlp.out"] if mlps else ["*attn.z"]
    found = [s.name for pattern in patterns for s in subject.sites(pattern) if s.block is not None]
    if not found:
        raise SiteError(f"{subject.name} has no attention heads, so its direct paths are not known. Patch its modules instead.")
    return found


def direct(subject: Any, inputs: Any, sender: Edit, receivers: Sequence[Node], held: dict[str, Tensor]) -> list[Edit]:
    """Edits that let `sender` act along direct paths only.

    Parameters
    ----------
    sender : Edit
        What is sent.
    receivers : sequence of Node
        Empty = the logits.
    held : dict
        Site -> value of every other component, from the run on the same `inputs` without edits.

    Returns
    -------
    list of Edit
        For the logits: everything held and the sender set. Otherwise what a first pass with those edits brought to the
        receivers; everything else stays free.
    """
    first = [*(Edit(site, "set", value) for site, value in held.items()), sender]
    if not receivers:
        return first
    sites = sorted({r.site for r in receivers})
    last = max(_depth(subject, site) for site in sites)
    # What stands in the receivers' block or later cannot reach them (heads reach the MLP of their block), and the first pass
    # ends there.
    got = subject.run(inputs, record=sites, edits=[e for e in first if _depth(subject, e.site) < last], logits="none")
    return [r.patch(got[r.site]) for r in receivers]


def _depth(subject: Any, site: str) -> int:
    block = subject.site(site).block
    return -1 if block is None else 2 * block + _is_mlp(site)
