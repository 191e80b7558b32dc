"""Checkpoints of a training: everything that decides what comes next, written so that a kill leaves a whole one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microtome import io
from microtome.decompose.fitting import Fit
from microtome.errors import FormatError, IntegrityError, SubjectMismatch

#: Checkpoints kept: the newest and the one before.
KEEP = 2
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(folder: str | Path, fits: Sequence[Fit], identity: str, mark: tuple[int, int] = (0, 0)) -> Path:
    """Write the state of trainings that go in step: tensors first, then the file that names them, each atomically."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    step = fits[0].progress.step
    tensors, curves = {}, []
    for i, fit in enumerate(fits):
        tensors |= {f"{i}/{name}": value for name, value in _state(fit).items()}
        curves.append([[name, list(column)] for name, column in fit.curve.columns.items()])
    name = f"state-{step:010d}.safetensors"
    written = io.write_tensors(folder / name, {k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    about = {"format": 1, "step": step, "identity": identity, "file": name, "hash": written.hash, "curves": curves}
    about["mark"] = list(mark)
    io.write_json(folder / f"state-{step:010d}.json", about)
    for old in sorted(folder.glob("state-*.json"))[:-KEEP]:
        old.unlink()
        (folder / f"{old.stem}.safetensors").unlink(missing_ok=True)
    return folder / name


def load_checkpoint(folder: str | Path, fits: Sequence[Fit], identity: str) -> tuple[int, tuple[int, int]]:
    """Put trainings back to the newest whole checkpoint; updates done (0 where there is none) and the source's mark.

    Raises
    ------
    SubjectMismatch
        When the checkpoint is of another training (other data, recipes, steps, batch or seed).
    IntegrityError
        When no checkpoint is whole although there are some.
    """
    folder, broken = Path(folder), []
    for path in sorted(folder.glob("state-*.json"), reverse=True) if folder.is_dir() else []:
        about = io.read_json(path)
        if not isinstance(about, dict) or {"step", "identity", "file", "hash", "curves", "mark"} - set(about):
            raise FormatError(f"'{path}' is not a checkpoint of a training.")
        if about["identity"] != identity:
            raise SubjectMismatch(
                f"'{folder}' holds a checkpoint of another training (data, recipes, steps, batch or seed differ); "
                "use another folder, or remove it."
            )
        file = io.safe_join(folder, str(about["file"]))
        if not Path(file).is_file() or io.hash_file(file) != about["hash"]:
            broken.append(path.name)
            continue
        tensors = io.read_tensors(file)
        for i, (fit, curve) in enumerate(zip(fits, about["curves"], strict=True)):
            _restore(fit, {name[len(f"{i}/") :]: t for name, t in tensors.items() if name.startswith(f"{i}/")})
            fit.curve.columns = {name: list(column) for name, column in curve}
            fit.progress.step = int(about["step"])
        half, before = about["mark"]
        return int(about["step"]), (int(half), int(before))
    if broken:
        raise IntegrityError(f"no checkpoint in '{folder}' is whole (damaged: {broken}); remove the folder to begin anew.")
    return 0, (0, 0)


def _state(fit: Fit) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {f"p/{name}": value for name, value in fit.p.items()}
    for name, value in fit.p.items():
        moments: Any = fit.optimizer.state.get(value, {})
        out |= {f"{key}/{name}": moments[key] for key in MOMENTS if key in moments}
    out |= {"silent": fit.progress.silent, "dead": fit.progress.dead}
    return out | ({"sums": torch.stack(fit.curve.sums)} if fit.curve.sums else {})


@torch.no_grad()
def _restore(fit: Fit, tensors: dict[str, Tensor]) -> None:
    for name, value in fit.p.items():
        value.copy_(tensors[f"p/{name}"])
        found = {key: tensors[f"{key}/{name}"] for key in MOMENTS if f"{key}/{name}" in tensors}
        if found:
            # torch keeps Adam's step count as a tensor, on the CPU unless the optimiser is fused on a GPU
            fit.optimizer.state[value] = {key: t.clone().to(value.device if t.ndim else t.device) for key, t in found.items()}
            if value.device.type == "cuda":
                fit.optimizer.state[value]["step"] = found["step"].clone().to(value.device)
    device = fit.progress.silent.device
    fit.progress.silent, fit.progress.dead = tensors["silent"].clone().to(device), tensors["dead"].clone().to(device)
    fit.curve.sums = list(tensors["sums"].clone().to(device)) if "sums" in tensors else []
