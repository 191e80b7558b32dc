"""An empty torchvision where there is none: libraries of the peers import it, and nothing here uses it."""

import importlib.machinery
import importlib.util
import sys
import types

import torch

PARTS = ("", ".models", ".transforms", ".transforms.functional", ".models.vgg", ".models.resnet",
         ".models.vision_transformer", ".ops")  # fmt: skip


class _Class(type):
    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return torch.nn if name == "nn" else _Class(name, (), {})


class _Anything(types.ModuleType):
    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Class(name, (), {})


def stand_in() -> None:
    """Put the empty modules in place, unless torchvision is there."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    for name in PARTS:
        stub = _Anything(f"torchvision{name}")
        stub.__spec__ = importlib.machinery.ModuleSpec(stub.__name__, None)
        stub.__path__ = []
        sys.modules[stub.__name__] = stub
