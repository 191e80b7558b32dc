"""Who writes into the residual stream of a subject and who reads it, with the weights in between.

Writers are the embedding, each head (at z) and each MLP; readers are the query, key and value of each head, the input of
each MLP, and the logits. What lies before what is a prefix of the writers, in the order of the blocks.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.errors import SiteError
from microtome.subject.architecture import submodule
from microtome.subject.replay import main_trunk
from microtome.trace.nodes import Node
from microtome.trace.norms import Norm, norm_of
from microtome.trace.selection import inputs_of


@dataclass(frozen=True)
class Writer:
    """Nodes that write together.

    Attributes
    ----------
    site : str
        Where their values are: embed, attn.z or mlp.out.
    nodes : tuple of Node
    weight : Tensor[nodes, d_head, d] or None
        From each head's value to the stream; None where the value is already what is added.
    norm : Norm or None
        A norm behind the output projection (Gemma 2): its spread is taken from the run, and its weight is folded in.
    after : str
        The site that the norm reads.
    """

    site: str
    nodes: tuple[Node, ...]
    weight: Tensor | None = None
    norm: Norm | None = None
    after: str = ""

    @property
    def sites(self) -> list[str]:
        """What a run must record."""
        return [self.site] + [self.after] * bool(self.after)

    def value(self, values: Any) -> Tensor:
        """What the nodes hold, ready for `onto` [n, length, nodes, width]."""
        x = values[self.site]
        x = x[:, :, None] if self.weight is None else x
        return x if self.norm is None else x / self.norm.spread(values[self.after])[..., None, None]

    def onto(self, value: Tensor) -> Tensor:
        """What the nodes add to the stream [n, nodes, length, d], without constants."""
        if self.weight is None:
            return value.transpose(1, 2)
        return torch.einsum("nlhe,hed->nhld", value, self.weight)


@dataclass(frozen=True)
class Reader:
    """Nodes of one kind (queries, keys, values, an MLP, the logits) of one block.

    Attributes
    ----------
    nodes : tuple of Node or None
        None = the logits.
    sites : tuple of str
        Where a run is given, and a gradient is taken of, what they read off the (normed) stream.
    weight : Tensor[nodes, width, d] or None
        From the norm's output to the sites; None where the site is the norm's output.
    bias : Tensor[nodes, width] or None
    """

    nodes: tuple[Node | None, ...]
    sites: tuple[str, ...]
    weight: Tensor | None
    bias: Tensor | None = None

    def joined(self, values: Any) -> Tensor:
        """Values (or gradients) at the sites as one tensor [n, length, nodes, width]."""
        parts = [values[s] for s in self.sites]
        return parts[0] if parts[0].ndim == 4 else torch.cat(parts, -1)[:, :, None]

    def split(self, value: Tensor, like: Any) -> dict[str, Tensor]:
        """The inverse of `joined`, shaped like the sites in `like`."""
        if len(self.sites) == 1:
            return {self.sites[0]: value.reshape(like[self.sites[0]].shape)}
        return dict(zip(self.sites, value[:, :, 0].split([like[s].shape[-1] for s in self.sites], -1)))


@dataclass(frozen=True)
class Place:
    """A point of the stream where readers stand, after the first `upstream` writers."""

    stream: str
    block: int
    upstream: int
    norm: Norm | None
    readers: tuple[Reader, ...]

    @property
    def nodes(self) -> list[Node | None]:
        """All that read here."""
        return [n for r in self.readers for n in r.nodes]


@dataclass(frozen=True)
class Wires:
    """The whole subject: groups of writers in order, places of readers in order."""

    writers: tuple[Writer, ...]
    places: tuple[Place, ...]
    width: int

    @cached_property
    def senders(self) -> list[Node]:
        """All writers, in order."""
        return [n for w in self.writers for n in w.nodes]

    @cached_property
    def receivers(self) -> list[Node | None]:
        """All readers, in order; None = the logits."""
        return [n for p in self.places for n in p.nodes]

    @cached_property
    def allowed(self) -> Tensor:
        """bool [senders, receivers]: whether the sender lies before the receiver."""
        place = torch.arange(len(self.senders))
        return torch.cat([(place < p.upstream)[:, None].expand(-1, len(p.nodes)) for p in self.places], dim=1)

    @cached_property
    def into(self) -> np.ndarray:
        """bool [receivers, senders]: whose input a receiver is; see `inputs_of`."""
        return inputs_of(self.senders, self.receivers)

    @cached_property
    def starts(self) -> list[int]:
        """First receiver of each place."""
        sizes = [len(p.nodes) for p in self.places]
        return [sum(sizes[:i]) for i in range(len(sizes))]

    @property
    def written(self) -> list[str]:
        """Sites that hold what writers write."""
        return list(dict.fromkeys(s for w in self.writers for s in w.sites))


def wires(subject: Any) -> Wires:
    """The writers and readers of a subject.

    Raises
    ------
    SiteError
        When its blocks do not add heads and MLPs to one residual stream that ends in logits.
    """
    trunk = main_trunk(subject)
    if trunk is None or trunk.residual not in ("sequential", "parallel"):
        kind = "no known blocks" if trunk is None else f"blocks of the kind '{trunk.residual}'"
        raise SiteError(f"{subject.name} has {kind}: edges need heads and MLPs that are added to one residual stream. "
                        "Patch nodes instead: activation_patching.")  # fmt: skip
    prefix = f"{trunk.stack.name}." if trunk.stack.name else ""
    norms, width = _Norms(subject, trunk.dims.d_model), trunk.dims.d_model
    missing = [n for n in ("embed", "final_norm", "blocks.0.attn.z", "logits") if prefix + n not in trunk.sites]
    if missing:
        raise SiteError(f"{subject.name} has no site {', '.join(missing)}: edges run from the embedding through heads to the "
                        "logits. Patch nodes instead: activation_patching.")  # fmt: skip
    writers, places, count = [Writer(prefix + "embed", (Node(prefix + "embed"),))], [], 1
    last = f"{prefix}blocks.{trunk.dims.blocks - 1}.resid_post"
    for block in range(trunk.dims.blocks):
        at = f"{prefix}blocks.{block}."
        if at + "attn.z" in trunk.sites:
            read = tuple(_projection(subject, at + f"attn.{part}") for part in "qkv")
            places.append(Place(at + "resid_pre", block, count, norms(at + "attn.norm"), read))
            writers.append(_heads(subject, at, norms))
        before = count
        count += len(writers[-1].nodes) if at + "attn.z" in trunk.sites else 0
        if at + "mlp.out" in trunk.sites:
            stream, seen = ("resid_mid", count) if trunk.residual == "sequential" else ("resid_pre", before)
            places.append(_mlp(subject, at, stream, block, seen, norms))
            writers.append(Writer(at + "mlp.out", (Node(at + "mlp.out"),)))
            count += 1
    final = norms(prefix + "final_norm")
    ends = Reader((None,), (prefix + "final_norm",), None)
    places.append(Place(last, trunk.dims.blocks, count, final, (ends,)))
    return Wires(tuple(writers), tuple(places), width)


class _Norms:
    """Norms by site; None where the site, or the norm in its place, is absent."""

    def __init__(self, subject: Any, width: int) -> None:
        self.subject, self.width = subject, width

    def __call__(self, site: str) -> Norm | None:
        if all(s.name != site for s in self.subject.sites(site)):
            return None
        module = submodule(self.subject.module, self.subject.site(site).module)
        return None if module is None or isinstance(module, nn.Identity) else norm_of(module, self.width)


def _projection(subject: Any, site: str) -> Reader:
    weight, bias = _linear(subject, site)
    view = subject.site(site).view
    nodes = tuple(Node(site, head=h) for h in range(subject.site(site).shape[0]))
    shaped = view.get(weight).movedim(0, -1)  # [d, heads, d_head] -> [heads, d_head, d]
    return Reader(nodes, (site,), shaped, None if bias is None else view.get(bias))


def _heads(subject: Any, at: str, norms: _Norms) -> Writer:
    site = subject.site(at + "attn.z")
    module = subject.module.get_submodule(site.module)
    weight = _matrix(module, site.name)  # [heads * d_head, d]
    shaped = weight.unflatten(0, (site.shape[0], -1))
    nodes = tuple(Node(site.name, head=h) for h in range(site.shape[0]))
    if not subject.sites(at + "attn.proj"):
        return Writer(site.name, nodes, shaped)
    norm = norm_of(subject.module.get_submodule(subject.site(at + "attn.out").module), weight.shape[1])
    # The norm acts on the sum over heads; given its spread it is linear, so heads keep their own parts.
    part = shaped - shaped.mean(-1, keepdim=True) if norm.centred else shaped
    return Writer(site.name, nodes, part * norm.weight, norm, at + "attn.proj")


def _mlp(subject: Any, at: str, stream: str, block: int, upstream: int, norms: _Norms) -> Place:
    norm, nodes = norms(at + "mlp.norm"), (Node(at + "mlp.out"),)
    if norm is not None:
        return Place(at + stream, block, upstream, norm, (Reader(nodes, (at + "mlp.norm",), None),))
    sites = tuple(at + part for part in ("mlp.pre", "mlp.up") if subject.sites(at + part))
    found = [_linear(subject, s) for s in sites]
    weight = torch.cat([w for w, _ in found], dim=1).T[None]
    bias = None if found[0][1] is None else torch.cat([b for _, b in found if b is not None])[None]
    return Place(at + stream, block, upstream, None, (Reader(nodes, sites, weight, bias),))


def _linear(subject: Any, site: str) -> tuple[Tensor, Tensor | None]:
    """Weight [d, out] and bias [out] of the projection whose output the site is."""
    module = subject.module.get_submodule(subject.site(site).module)
    bias = getattr(module, "bias", None)
    return _matrix(module, site), None if bias is None else bias.detach()


def _matrix(module: nn.Module, site: str) -> Tensor:
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear) and isinstance(weight, Tensor) and weight.is_floating_point():
        return weight.detach().T
    if type(module).__name__ == "Conv1D" and isinstance(weight, Tensor):  # transformers' GPT-2: [in, out]
        return weight.detach()
    raise SiteError(f"{site}: {type(module).__name__} is no plain projection, so what its edges carry is not known.")
