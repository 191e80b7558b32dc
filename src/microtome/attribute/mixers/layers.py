"""The mixers of a subject, layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from microtome.attribute.mixers.attention import attention, wanted
from microtome.attribute.mixers.gated_linear import Split
from microtome.attribute.mixers.griffin import recurrent_gemma
from microtome.attribute.mixers.mamba import mamba, mamba2
from microtome.attribute.mixers.mixing import Mixing
from microtome.attribute.mixers.rwkv import rwkv4
from microtome.errors import SiteError, UsageError
from microtome.subject.replay import main_trunk

#: What a recurrent mixer must have to be taken for one of a kind, and how it becomes a matrix.
RECURRENT: tuple[tuple[tuple[str, ...], Callable[..., Mixing], str], ...] = (
    (("in_proj", "conv1d", "x_proj", "dt_proj", "A_log", "D", "out_proj"), mamba, "mamba"),
    (("in_proj", "conv1d", "dt_bias", "A_log", "D", "norm", "out_proj"), mamba2, "mamba2"),
    (("time_decay", "time_first", "key", "value", "receptance", "output"), lambda m, x, keep, split: rwkv4(m, x), "rwkv4"),
    (("linear_x", "linear_y", "conv_1d", "rg_lru", "linear_out"),
     lambda m, x, keep, split: recurrent_gemma(m, x, split), "rg_lru"),
)  # fmt: skip
#: What attention of an architecture without a table is known by.
QUERIES = ("q_proj", "query", "c_attn", "query_key_value")


@dataclass(frozen=True)
class Layer:
    """Where one mixer is.

    Attributes
    ----------
    kind : "attention", "mamba", "mamba2", "rwkv4" or "rg_lru"
    path : str
        Prefix of the sites of the block (attention), or path of the mixer's module.
    input : str
        The site that enters it.
    """

    kind: str
    path: str
    input: str


def layers(subject: Any) -> list[Layer]:
    """The mixers of a subject from the first to the last.

    Raises
    ------
    SiteError
        Where there are none that are known, or blocks also attend to another stack.
    """
    trunk = main_trunk(subject)
    if trunk is not None and trunk.residual == "cross":
        raise SiteError(f"{subject.name} attends to another stack as well: its tokens do not come from one sequence.")
    sites = trunk.sites.values() if trunk is not None else []
    found = [Layer("attention", s.name.removesuffix("attn.pattern"), s.name.replace("attn.pattern", "resid_pre"))
             for s in sites if s.name.endswith("attn.pattern")]  # fmt: skip
    for path, module in subject.module.named_modules():
        kind = recurrent(module)
        if kind is not None:
            found.append(Layer(kind, path, f"{path}:input"))
    unknown = [p for p, m in subject.module.named_modules() if trunk is None and any(hasattr(m, q) for q in QUERIES)]
    if unknown:
        raise SiteError(
            f"{subject.name} has attention at {unknown[0]} and no table of its sites: a part of its mixers would be left out. "
            "Linearise single mixers with mixers.linearised(module, hidden)."
        )
    if not found:
        raise SiteError(
            f"{subject.name} has no attention and no mixer of a known kind ({', '.join(k for _, _, k in RECURRENT)}): "
            "there is nothing to write as a matrix over tokens."
        )
    return found


def attention_layers(subject: Any) -> list[Layer]:
    """The same, all of them attention.

    Raises
    ------
    SiteError
        Where a layer mixes its tokens in another way.
    """
    found = layers(subject)
    other = next((one for one in found if one.kind != "attention"), None)
    if other is not None:
        raise SiteError(
            f"{subject.name} has no attention pattern at {other.path} (a {other.kind} mixer). Use implicit_attention or latim."
        )
    return found


def recurrent(module: nn.Module) -> str | None:
    """Which kind of recurrent mixer a module is."""
    return next((kind for parts, _, kind in RECURRENT if all(hasattr(module, p) for p in parts)), None)


def linearised(module: nn.Module, hidden: Tensor, keep: Tensor | None = None, split: Split = "gate") -> Mixing:
    """A recurrent mixer's module at its input [n, position, width] as a `Mixing`.

    Raises
    ------
    UsageError
        When the module is no mixer of a known kind.
    """
    kind = recurrent(module)
    if kind is None:
        raise UsageError(f"{type(module).__name__} is no mixer of a known kind: {', '.join(k for _, _, k in RECURRENT)}.")
    function = next(f for _, f, name in RECURRENT if name == kind)
    with torch.no_grad():
        found = function(module, hidden, keep, split)
    return replace(found, write=found.write.detach())


def recorded(subject: Any, layer: Layer) -> list[str]:
    """Sites from which `mixing` makes a layer's matrix."""
    return wanted(subject, layer.path) if layer.kind == "attention" else [layer.input]


def mixing(subject: Any, layer: Layer, seen: dict[str, Tensor], keep: Tensor | None, split: Split = "gate") -> Mixing:
    """The matrix of one layer from what was recorded."""
    if layer.kind == "attention":
        return attention(subject, layer.path, seen)
    hidden = seen[subject.site(layer.input).name]
    return linearised(subject.module.get_submodule(layer.path), hidden, keep, split)


def mixings(subject: Any, inputs: Any, *, split: Split = "gate", only: int | None = None) -> list[Mixing]:
    """Every layer (or one) as a `Mixing`, from one forward."""
    chosen = layers(subject) if only is None else [at(subject, only)]
    given = subject.inputs(inputs)
    seen = subject.run(given, record=[s for one in chosen for s in recorded(subject, one)], logits="none").values
    return [mixing(subject, one, seen, given.mask, split) for one in chosen]


def at(subject: Any, number: int) -> Layer:
    """The layer of that number; negative ones count from the last."""
    found = layers(subject)
    if isinstance(number, bool) or not isinstance(number, int) or not -len(found) <= number < len(found):
        raise UsageError(f"{subject.name} has {len(found)} mixers: layer must be an int below that, got {number!r}.")
    return found[number]
