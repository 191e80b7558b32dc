"""Twins of a subject that learned nothing: same architecture, weights re-drawn or shuffled."""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from microtome.errors import UsageError
from microtome.rng import derive, torch_rng

Kind = Literal["reinit", "weight_shuffle"]


def twin_module(module: nn.Module, kind: Kind, seed: int, chosen: Callable[[str], bool] = lambda name: True) -> nn.Module:
    """A copy of `module` whose chosen parameters were re-drawn ("reinit") or permuted within each tensor.

    Parameters
    ----------
    module : nn.Module
        Left as it is.
    kind : {"reinit", "weight_shuffle"}
        "reinit" uses the model's own initialiser; "weight_shuffle" keeps every value (so norms and spectra's scale) and
        destroys its place.
    seed : int
    chosen : callable
        Parameter name -> whether it is randomised (embeddings kept, or a cascade over layers).
    """
    if kind == "reinit":
        twin = _redrawn(module, derive(seed, "twin"))
        source = dict(module.named_parameters())
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                if not chosen(name):
                    parameter.copy_(source[name])
    elif kind == "weight_shuffle":
        twin = copy.deepcopy(module)
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                if chosen(name) and parameter.numel() > 1:
                    order = torch.randperm(parameter.numel(), generator=torch_rng(seed, "twin", name))
                    parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))
    else:
        raise UsageError(f"kind must be 'reinit' or 'weight_shuffle', got {kind!r}.")
    twin.train(module.training)
    return twin


def _redrawn(module: nn.Module, seed: int) -> nn.Module:
    """A freshly initialised module of the same kind; global random state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = copy.deepcopy(module)
        initialiser = getattr(twin, "_init_weights", None)
        for child in twin.modules():
            if callable(initialiser):
                for tensor in (*child.parameters(recurse=False), *child.buffers(recurse=False)):
                    tensor.__dict__.pop("_is_hf_initialized", None)
                child.__dict__.pop("_is_hf_initialized", None)
            if hasattr(child, "reset_parameters"):
                child.reset_parameters()
            elif not callable(initialiser):
                _like_before(child)
            if callable(initialiser):
                initialiser(child)
        return twin


def _like_before(module: nn.Module) -> None:
    """Parameters that no initialiser owns are re-drawn with the mean and standard deviation that they have."""
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            if parameter.numel() > 1 and parameter.is_floating_point():
                parameter.normal_(float(parameter.mean()), float(parameter.std()))
