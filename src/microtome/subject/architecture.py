"""Architectures as data: canonical site name -> where it is.

An `Architecture` is one small table; a new one is one file in `architectures/` with a constant ``ARCHITECTURES``.
`resolve` turns the table into `Site` objects for a concrete module, keeping only rows whose module exists.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from torch import Tensor, nn

from microtome.subject.site import Site, SiteSpec, View

Residual = Literal["sequential", "parallel", "cross", "post", "none"]


@dataclass(frozen=True)
class Dims:
    """Sizes of one stack, read from the config."""

    blocks: int
    d_model: int
    heads: int = 0
    kv_heads: int = 0
    d_head: int = 0
    d_mlp: int = 0
    vocab: int = 0


@dataclass(frozen=True)
class Stack:
    """One tower of blocks.

    Attributes
    ----------
    name : str
        Prefix of the site names: "" for the only stack, else "encoder", "decoder", "vision", "text".
    blocks : str
        Path of the ModuleList of blocks.
    block_sites : mapping
        Site name inside a block -> SiteSpec (path relative to the block).
    sites : mapping
        Sites outside the blocks (embed, final_norm, logits): path relative to the model.
    dims : callable
        config -> Dims.
    residual : str
        Which identity holds between the sites of a block. attn.out, cross.out and mlp.out are always what is ADDED to
        the stream, after a layer scale or a norm behind the sublayer where there is one.

        - "sequential": resid_pre + attn.out = resid_mid, resid_mid + mlp.out = resid_post;
        - "parallel": resid_pre + attn.out + mlp.out = resid_post, there is no resid_mid (also blocks without an MLP);
        - "cross": resid_pre + attn.out = resid_cross, resid_cross + cross.out = resid_mid,
          resid_mid + mlp.out = resid_post;
        - "post": as sequential, with a LayerNorm after each sum (BERT);
        - "none": the block has no sublayers of these names.
    causal : bool
        Whether position p depends on positions <= p alone.
    final_norm, head : str
        Paths of the modules after the blocks, applied in this order to give logits ("" = none).
    cap : str
        Config attribute with the soft cap of the logits ("" = none).
    scale : callable or None
        config -> factor applied to the normed stream before the head (T5 with tied embeddings).
    """

    blocks: str
    block_sites: Mapping[str, SiteSpec]
    sites: Mapping[str, SiteSpec]
    dims: Callable[[Any], Dims]
    name: str = ""
    residual: Residual = "sequential"
    causal: bool = True
    final_norm: str = ""
    head: str = ""
    cap: str = ""
    scale: Callable[[Any], float] | None = None


@dataclass(frozen=True)
class Architecture:
    """A named table for one or several `config.model_type`s.

    `prefixes` are tried in turn: a table written for the model with a head also serves the bare model.
    `when` chooses between tables of one model type by their config (GPT-NeoX with and without parallel residual).
    `first_position` gives the position id of the first token where it is not 0 (RoBERTa counts from its padding id).
    `absent` gives, for canonical sites that the architecture does not have, the reason that an error shows.
    """

    name: str
    model_types: tuple[str, ...]
    stacks: tuple[Stack, ...]
    prefixes: tuple[str, ...] = ("",)
    absent: Mapping[str, str] = field(default_factory=dict)
    when: Callable[[Any], bool] | None = None
    first_position: Callable[[Any], int] | None = None


def common_dims(config: Any) -> Dims:
    """Sizes under the attribute names that most Hugging Face configs share."""

    def first(*names: str, default: int = 0) -> int:
        for name in names:
            value = getattr(config, name, None)
            if isinstance(value, int):
                return value
        return default

    d_model = first("hidden_size", "d_model", "n_embd")
    heads = first("num_attention_heads", "n_head", "num_heads", "encoder_attention_heads")
    return Dims(
        blocks=first("num_hidden_layers", "n_layer", "num_layers"),
        d_model=d_model,
        heads=heads,
        kv_heads=first("num_key_value_heads", default=heads),
        d_head=first("head_dim", "d_kv", default=d_model // heads if heads else 0),
        d_mlp=first("intermediate_size", "n_inner", "d_ff", "ffn_dim", default=4 * d_model),
        vocab=first("vocab_size"),
    )


@cache
def tables() -> Mapping[str, tuple[Architecture, ...]]:
    """All architecture tables by `config.model_type`, in the order in which `find` asks them."""
    package = importlib.import_module("microtome.subject.architectures")
    found: dict[str, tuple[Architecture, ...]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for architecture in getattr(module, "ARCHITECTURES", ()):
            for model_type in architecture.model_types:
                found[model_type] = (*found.get(model_type, ()), architecture)
    return found


def find(module: nn.Module) -> Architecture | None:
    """The table for a module, by the `model_type` of its config; None for any other module."""
    config = getattr(module, "config", None)
    candidates = tables().get(getattr(config, "model_type", None) or "", ())
    return next((a for a in candidates if a.when is None or a.when(config)), None)


def submodule(module: nn.Module, path: str) -> nn.Module | None:
    """The module at `path`, or None."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


@dataclass(frozen=True)
class Trunk:
    """A resolved stack: where the blocks and the tail are, and which sites it has."""

    stack: Stack
    prefix: str
    dims: Dims
    sites: Mapping[str, Site]

    @property
    def residual(self) -> Residual:
        """Which residual identity holds; see `Stack`."""
        return self.stack.residual

    @property
    def blocks(self) -> str:
        """Full path of the ModuleList."""
        return self.prefix + self.stack.blocks

    def path(self, relative: str) -> str:
        """Full path of a module named in the table ("" stays "")."""
        return _outside(relative, self.prefix) if relative else ""

    def finish(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """What lies between the last block and the head: the final norm and the scale, where there are any."""
        found = submodule(module, self.path(self.stack.final_norm)) if self.stack.final_norm else None
        norm = nn.Identity() if found is None else found
        scale = self.stack.scale(module.config) if self.stack.scale else 1.0
        return norm if scale == 1.0 else lambda x: norm(x) * scale


def resolve(architecture: Architecture, module: nn.Module) -> list[Trunk]:
    """The stacks of `architecture` that exist in `module`, with their sites."""
    config = module.config
    trunks = []
    for stack in architecture.stacks:
        prefix = next((p for p in architecture.prefixes if submodule(module, p + stack.blocks) is not None), None)
        if prefix is None:
            continue
        dims = stack.dims(config)
        count = len(module.get_submodule(prefix + stack.blocks))  # type: ignore[arg-type]
        label = f"{stack.name}." if stack.name else ""
        sites: dict[str, Site] = {}
        for name, spec in stack.sites.items():
            path = _outside(spec.path, prefix)
            if submodule(module, path) is not None:
                sites[label + name] = _site(label + name, path, spec, dims, None, stack.name)
        for i in range(count):
            for name, spec in stack.block_sites.items():
                path = ".".join(p for p in (prefix + stack.blocks, str(i), spec.path) if p)
                if submodule(module, path) is not None:
                    full = f"{label}blocks.{i}.{name}"
                    sites[full] = _site(full, path, spec, dims, i, stack.name)
        trunks.append(Trunk(stack, prefix, dims, sites))
    return trunks


def _outside(path: str, prefix: str) -> str:
    """Paths outside the blocks: "/lm_head" is absolute (it sits beside the base model), others carry the prefix."""
    return path[1:] if path.startswith("/") else prefix + path


#: Which size a site's last axis has, by the last part of its name; d_model for the others, "" = known after a run.
WIDTHS = {**dict.fromkeys(("pre", "up", "hidden", "x", "gate"), "d_mlp"), "logits": "vocab", "projected": ""}


def _site(name: str, path: str, spec: SiteSpec, dims: Dims, block: int | None, stack: str) -> Site:
    leaf = name.rpartition(".")[2]
    if leaf == "pattern":
        return Site(name, path, spec.at, View(), ("batch", "head", "query", "key"), (dims.heads,), block, stack)
    heads = {"": 0, "heads": dims.heads, "kv_heads": dims.kv_heads}[spec.heads]
    view = View(heads=heads, flat=spec.flat, carried=spec.carried)
    if spec.layout == "qkv":
        q, kv = dims.heads * dims.d_head, dims.kv_heads * dims.d_head
        starts = (0, q, q + kv, q + 2 * kv)
        view = View(heads=heads, start=starts[spec.part], stop=starts[spec.part + 1])
    elif spec.layout == "interleaved":
        view = View(heads=heads, interleaved=3, part=spec.part)
    elif spec.layout == "halves":
        view = View(start=spec.part * dims.d_mlp, stop=(spec.part + 1) * dims.d_mlp)
    size = WIDTHS.get(leaf, "d_model")
    shape = (heads, dims.d_head) if heads else (getattr(dims, size),) if size else ()
    axes = spec.axes or (("batch", "position", "head", "unit") if heads else ("batch", "position", "unit"))
    return Site(name, path, spec.at, view, axes, shape, block, stack)
