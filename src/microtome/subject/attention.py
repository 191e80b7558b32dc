"""Attention patterns on demand, through the public attention interface of transformers.

For the duration of one call the model is asked to use an attention function that computes the model's own eager attention
and lets the pattern be read or changed before it is applied. The user's choice of implementation comes back afterwards; a
run that asks for no pattern never gets here.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import SiteError

NAME = "microtome"
_patterns: ContextVar[dict[int, Callable[[Tensor], Tensor]] | None] = ContextVar("microtome_patterns", default=None)


@contextmanager
def intercept(model: nn.Module, attention: nn.Module, process: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Route the attention weights [batch, head, query, key] of `attention` through `process`.

    Raises
    ------
    SiteError
        When the module does not use the attention interface of transformers.
    """
    if not callable(getattr(sys.modules[type(attention).__module__], "eager_attention_forward", None)):
        raise SiteError(
            f"{type(attention).__name__} does not compute its attention through the transformers attention interface, so its "
            "pattern cannot be read or edited."
        )
    _register()
    current = dict(_patterns.get() or {})
    current[id(attention)] = process
    token = _patterns.set(current)
    configs = _configs(model)
    before = [c._attn_implementation for c in configs]
    try:
        for config in configs:
            config._attn_implementation_internal = NAME
        yield
    finally:
        for config, implementation in zip(configs, before):
            config._attn_implementation_internal = implementation
        _patterns.reset(token)


def _configs(model: nn.Module) -> list[Any]:
    """Every config object that a submodule consults, once."""
    found: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "_attn_implementation_internal"):
            found.setdefault(id(config), config)
    return list(found.values())


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    if NAME not in AttentionInterface._global_mapping:
        AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
        AttentionInterface.register(NAME, _attention)


def _attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any):
    """The module's own eager attention; where a pattern is wanted, it is handed out and applied again if changed."""
    eager = sys.modules[type(module).__module__].eager_attention_forward
    mask = _additive(module, query, key, mask, kwargs.get("is_causal"))
    output, weights = eager(module, query, key, value, mask, **kwargs)
    process = (_patterns.get() or {}).get(id(module))
    if process is None:
        return output, weights
    new = process(weights)
    if new is not weights:
        groups = weights.shape[1] // value.shape[1]
        spread = value.repeat_interleave(groups, dim=1) if groups > 1 else value
        output = torch.matmul(new, spread).transpose(1, 2).contiguous()
    return output, new


def _additive(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, causal: bool | None) -> Tensor | None:
    """The mask as eager attention takes it, from what other implementations are given.

    A replayed block brings the mask that was made for the user's implementation: booleans, or none where the kernel is
    causal by itself.
    """
    if mask is None:
        causal = getattr(module, "is_causal", False) if causal is None else causal
        if not causal or query.shape[2] == 1:
            return None
        asked, known = query.shape[2], key.shape[2]
        mask = torch.ones(asked, known, dtype=torch.bool, device=query.device).tril(known - asked)[None, None]
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill(mask.logical_not(), torch.finfo(query.dtype).min)
