"""What is held in a linear network beside the attention patterns: norm scales, gates, and constants made visible."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from microtome.subject.architecture import Trunk
from microtome.subject.hooks import first_tensor, with_tensor
from microtome.trace.norms import norm_of

#: Sites whose module is affine: its constant is carried by the block's `one`.
AFFINE = ("attn.q", "attn.k", "attn.v", "attn.z", "mlp.pre", "mlp.up", "mlp.hidden")
#: Below this share of the largest value a gate is not divided by.
TINY = 1e-4


@contextmanager
def held_modules(module: nn.Module, trunk: Trunk, one: Tensor) -> Iterator[None]:
    """Within, norms keep their scale, and the constants of norms and projections are multiplied by the block's `one`."""
    with ExitStack() as stack:
        for path, hook in _hooks(module, trunk, one):
            stack.callback(module.get_submodule(path).register_forward_hook(hook).remove)
        yield


def _hooks(module: nn.Module, trunk: Trunk, one: Tensor) -> Iterator[tuple[str, Callable[..., Any]]]:
    affine = {s.module for n, s in trunk.sites.items() if n.endswith(AFFINE) or n.endswith("logits")}
    final = trunk.path(trunk.stack.final_norm)
    for path, child in module.named_modules():
        inside = path.startswith(trunk.blocks + ".")
        carrier = one[_block(path, trunk)] if inside else one[-1]
        if path in affine:
            yield path, partial(_affine, carrier)
        elif (inside or (final and path == final)) and _is_norm(path, child):
            yield path, partial(_norm, carrier, trunk.dims.d_model)


def _is_norm(path: str, module: nn.Module) -> bool:
    """Norms of queries and keys are not meant: nothing flows through them while patterns are held."""
    return "norm" in type(module).__name__.lower() and not re.search(r"(^|\.)[qk]_(layer)?norm$", path)


def _block(path: str, trunk: Trunk) -> int:
    return int(path[len(trunk.blocks) + 1 :].split(".")[0])


def _affine(one: Tensor, module: nn.Module, args: tuple, output: Any) -> Any:
    with torch.no_grad():
        constant = first_tensor(module.forward(torch.zeros_like(args[0][..., :1, :])), None)  # type: ignore[arg-type]
        constant = constant.reshape(-1, constant.shape[-1])[0]
    if not bool((constant != 0).any()):
        return None
    tensor = first_tensor(output, None)  # type: ignore[arg-type]
    return with_tensor(output, tensor - constant + constant * one)


def _norm(one: Tensor, width: int, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
    if output.shape[-1] != width:
        return None
    return norm_of(module, width).held(args[0], one)


def held_gates(trunk: Trunk, written: set[str], one: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor | None]]]:
    """Handlers that keep each MLP's gates open as far as they are: hidden = pre * (hidden / pre held).

    Nothing for MLPs whose output is written by a basis that does not read it (`written`).
    """
    for name in [n for n in trunk.sites if n.endswith("mlp.hidden")]:
        stem = name[: -len("hidden")]
        if f"{stem}out" in written:
            continue
        linear = f"{stem}up" if f"{stem}up" in trunk.sites else f"{stem}pre"
        if linear not in trunk.sites:
            continue
        seen: dict[str, Tensor] = {}
        block = trunk.sites[name].block
        yield linear, partial(_note, seen)
        yield name, partial(_gate, seen, one[-1 if block is None else block])


def _note(seen: dict[str, Tensor], value: Tensor) -> None:
    seen["linear"] = value


def _gate(seen: dict[str, Tensor], one: Tensor, value: Tensor) -> Tensor:
    linear, held = seen["linear"], value.detach()
    small = linear.detach().abs() <= TINY * linear.detach().abs().amax()
    share = torch.where(small, 0.0, held / torch.where(small, 1.0, linear.detach()))
    through = linear * share
    return through + (held - through.detach()) * one
