"""Weights on the shelf: each trained organism keeps model.safetensors, config.json and figures.json in its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from microtome.errors import StorageError

HERE = Path(__file__).resolve().parent
WEIGHTS, CONFIG, FIGURES = "model.safetensors", "config.json", "figures.json"


def folder(name: str) -> Path:
    """Where the weights of organism `name` ship."""
    return HERE / name.replace("-", "_") / "weights"


def save(out: Path, module: nn.Module, config: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write weights, configuration and the figures reached into the folder `out`."""
    from microtome import io

    out.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().contiguous().clone() for key, value in module.state_dict().items()}
    io.write_tensors(out / WEIGHTS, tensors)
    io.write_json(out / CONFIG, dict(config))
    io.write_json(out / FIGURES, dict(figures))


def config(name: str) -> dict[str, Any]:
    """The shipped configuration of organism `name`."""
    return _json(name, CONFIG)


def figures(name: str) -> dict[str, Any]:
    """The figures that organism `name` reached when it was made; empty for compiled ones."""
    from microtome import io

    path = folder(name) / FIGURES
    return io.read_json(path) if path.is_file() else {}


def fill(name: str, module: nn.Module) -> nn.Module:
    """Put the shipped weights of organism `name` into `module`; returns it in evaluation mode."""
    from microtome import io

    module.load_state_dict(io.read_tensors(_path(name, WEIGHTS)))
    return module.eval()


def _json(name: str, file: str) -> dict[str, Any]:
    from microtome import io

    return io.read_json(_path(name, file))


def _path(name: str, file: str) -> Path:
    path = folder(name) / file
    if not path.is_file():
        raise StorageError(
            f"organism {name!r} has no {file} in {path.parent}. Remake it: make organisms"
        )
    return path
