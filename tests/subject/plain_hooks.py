"""Reading and writing sites with bare torch hooks: the slow oracle that the tables and `Subject` are held against."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from microtome.subject.architecture import Trunk
from microtome.subject.site import Site

Change = Callable[[Tensor], Tensor]


def call(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor that the model returns, without a cache."""
    cached = {"use_cache": False} if "use_cache" in inspect.signature(module.forward).parameters else {}
    with torch.no_grad():
        output = module(**inputs, **cached)
    return {k: v for k, v in vars(output).items() if isinstance(v, Tensor)}


def run(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    read: Iterable[Site] = (),
    write: Mapping[Site, Change] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(outputs, values of the `read` sites before any write at the same module)."""
    values: dict[str, Tensor] = {}
    handles = []
    for site in read:
        handles.append(_hook(module, site, lambda tensor, site=site: values.__setitem__(site.name, tensor.clone())))
    for site, change in (write or {}).items():
        handles.append(_hook(module, site, change))
    try:
        return call(module, inputs), values
    finally:
        for handle in handles:
            handle.remove()


def _hook(module: nn.Module, site: Site, act: Callable[[Tensor], Tensor | None]) -> Any:
    """Calls `act` with the site's tensor; a returned tensor is written back."""
    target = module.get_submodule(site.module)

    def through(tensor: Tensor) -> Tensor:
        length = length_of(tensor, site)
        new = act(site.view.get(tensor, length))
        return tensor if new is None else site.view.put(tensor, new)

    def before(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (through(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": through(kwargs["hidden_states"])}

    def after(_module: nn.Module, _args: tuple, output: Any) -> Any:
        if site.at == "pattern":  # only read: the weights have been used by the time a module returns
            act(output[-1])
            return None
        if isinstance(output, Tensor):
            return through(output)
        return (through(output[0]), *output[1:])

    if site.at == "input":
        return target.register_forward_pre_hook(before, with_kwargs=True)
    return target.register_forward_hook(after)


LENGTH = 7


def length_of(tensor: Tensor, site: Site) -> int | None:
    """Positions of a tensor whose batch and position axes are merged; the tests always use `LENGTH`."""
    return LENGTH if site.view.flat else None


def weight_of(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [in, out] and bias [out] of a Linear or of GPT-2's Conv1D."""
    weight = layer.weight if type(layer).__name__ == "Conv1D" else layer.weight.T
    bias = layer.bias if layer.bias is not None else torch.zeros(weight.shape[1])
    return weight.detach(), bias.detach()


def sites_of(trunks: Iterable[Trunk]) -> dict[str, Site]:
    """All sites by name."""
    return {name: site for trunk in trunks for name, site in trunk.sites.items()}
