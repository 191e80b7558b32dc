"""Attach taps to modules for one call, and take them off again whatever happens.

A tap reads and edits one site. Taps of one module and direction share one hook. Nothing is attached where no tap is.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from microtome.errors import SiteError
from microtome.subject.attention import intercept
from microtome.subject.frame import Frame
from microtome.subject.gates import gate_hook
from microtome.subject.site import Site
from microtome.subject.tap import Placed, Tap

__all__ = ["Placed", "Stop", "Tap", "attached", "first_input", "first_tensor", "with_input", "with_tensor"]


class Stop(Exception):
    """Raised inside a forward when everything that was asked for has been seen."""


@contextmanager
def attached(module: nn.Module, taps: list[Tap], frame: Callable[[Site], Frame]) -> Iterator[None]:
    """Hooks for `taps` on `module`; removed on exit, also after an error."""
    groups: dict[tuple[str, str], list[Tap]] = {}
    for tap in taps:
        groups.setdefault((tap.site.module, tap.site.at), []).append(tap)
    with ExitStack() as stack:
        for (path, at), group in groups.items():
            target = module.get_submodule(path)
            if at == "pattern":
                stack.enter_context(intercept(module, target, _process(group, frame)))
            elif at == "gate":
                handle = target.register_forward_hook(gate_hook(group, frame), with_kwargs=True)
                stack.callback(handle.remove)
            elif at == "input":
                handle = target.register_forward_pre_hook(_input_hook(group, frame), with_kwargs=True)
                stack.callback(handle.remove)
            else:
                handle = target.register_forward_hook(_output_hook(group, frame))
                stack.callback(handle.remove)
        yield


def _process(group: list[Tap], frame: Callable[[Site], Frame]) -> Callable[[Tensor], Tensor]:
    def process(tensor: Tensor) -> Tensor:
        for tap in group:
            for placed in tap.edits:
                value = tap.site.view.get(tensor, frame(tap.site).length)
                new = placed.apply(value, tap.site, frame(tap.site))
                if new is not value:
                    tensor = tap.site.view.put(tensor, new)
            if tap.keep is not None:
                replacement = tap.keep(tap.site.view.get(tensor, frame(tap.site).length))
                if replacement is not None:
                    tensor = tap.site.view.put(tensor, replacement)
        return tensor

    return process


def _input_hook(group: list[Tap], frame: Callable[[Site], Frame]):
    process = _process(group, frame)

    def hook(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        key, tensor = first_input(args, kwargs, group[0].site)
        new = process(tensor)
        if new is tensor:
            return None
        return with_input(args, kwargs, key, new)

    return hook


def _output_hook(group: list[Tap], frame: Callable[[Site], Frame]):
    process = _process(group, frame)

    def hook(_module: nn.Module, _args: tuple, output: Any) -> Any:
        tensor = first_tensor(output, group[0].site)
        new = process(tensor)
        return None if new is tensor else with_tensor(output, new)

    return hook


def first_input(args: tuple, kwargs: dict, site: Site) -> tuple[int | str, Tensor]:
    """The tensor a module works on: its first positional argument, or the first tensor passed by name."""
    if args and isinstance(args[0], Tensor):
        return 0, args[0]
    for name in ("hidden_states", *kwargs):
        if isinstance(kwargs.get(name), Tensor):
            return name, kwargs[name]
    raise SiteError(f"{site.name}: module '{site.module}' received no tensor as its input. Use its output instead.")


def with_input(args: tuple, kwargs: dict, key: int | str, tensor: Tensor) -> tuple[tuple, dict]:
    """Arguments with the working tensor replaced."""
    if key == 0:
        return (tensor, *args[1:]), kwargs
    return args, {**kwargs, key: tensor}


def first_tensor(output: Any, site: Site) -> Tensor:
    """A module's output, or the first tensor of its tuple or mapping."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if hasattr(output, "values") else output if isinstance(output, (tuple, list)) else ()
    for value in values:
        if isinstance(value, Tensor):
            return value
    raise SiteError(f"{site.name}: module '{site.module}' returned {type(output).__name__}, which holds no tensor.")


def with_tensor(output: Any, tensor: Tensor) -> Any:
    """The same output with its first tensor replaced."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, (tuple, list)):
        i = next(i for i, value in enumerate(output) if isinstance(value, Tensor))
        values = [*output[:i], tensor, *output[i + 1 :]]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
    name = next(k for k, value in output.items() if isinstance(value, Tensor))
    changed = type(output)(**{**output})
    changed[name] = tensor
    return changed
