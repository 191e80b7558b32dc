"""Checks 5 and 18: what goes in comes out unchanged, also when the work is interrupted."""

import inspect
import sys
import warnings
from typing import Any

import torch

from microtome.testing.case import Case
from microtome.testing.digest import digest
from microtome.testing.report import Failed, Skip


def state(value: Any) -> str:
    """A digest of all that a method must leave alone in an argument."""
    module = getattr(value, "module", None)
    if isinstance(module, torch.nn.Module):
        return digest([_module_state(module)])
    if hasattr(value, "matrix") and hasattr(value, "sites"):
        data = [value[site].matrix() for site in value.sites]
        return digest([data, value.index, value.table])
    return digest(value)


def _module_state(module: torch.nn.Module) -> list[Any]:
    """Weights, gradients, flags, hooks and forward functions of every part of a module."""
    parts: list[Any] = []
    for name, part in module.named_modules():
        hooks = [len(v) for k, v in sorted(vars(part).items()) if k.endswith("_hooks") and hasattr(v, "__len__")]
        parts.append([name, part.training, hooks, "forward" in vars(part), sorted(vars(part))])
    for name, p in module.named_parameters():
        parts.append([name, p.data, p.requires_grad, p.grad is None])
    return parts + [[name, b] for name, b in module.named_buffers()]


def purity(case: Case) -> None:
    """Check 5: subjects, recordings, tasks and arrays are bit-identical after the call; no hook or gradient stays."""
    world = case.world()
    before = {name: state(value) for name, value in world.given.items()}
    modes = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    case.run(world)
    changed = [name for name, value in world.given.items() if state(value) != before[name]]
    if changed:
        raise Failed(f"the call changed its arguments: {', '.join(changed)}")
    if modes != (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()):
        raise Failed("the call left torch's gradient mode, default dtype or thread count changed")


class _Interrupt:
    """Raises KeyboardInterrupt at the n-th Python call below; with n = 0 it only counts them."""

    def __init__(self, at: int = 0):
        self.at, self.calls = at, 0

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        generator = frame.f_code.co_flags & inspect.CO_GENERATOR  # what is raised while one is closed is ignored
        if event == "call" and not generator and "microtome" in frame.f_code.co_filename:
            self.calls += 1
            if self.calls == self.at:
                sys.setprofile(None)
                raise KeyboardInterrupt

    def watch(self, case: Case, world: Any) -> bool:
        """Run the case; whether it stopped: by KeyboardInterrupt, or early with what it had and a warning."""
        before = sys.getprofile()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            sys.setprofile(self)
            try:
                case.run(world)
            except KeyboardInterrupt:
                return True
            finally:
                sys.setprofile(before)
        return any("nterrupt" in f"{w.category.__name__} {w.message}" for w in heard)


def interrupted(case: Case) -> None:
    """Check 18: Ctrl-C at three points of the call leaves the arguments as they were, and a new call gives the same."""
    world = case.world()
    expected = digest(case.usual[1])
    _Interrupt().watch(case, world)  # a first call may fill caches of the subject, later ones are shorter
    counter = _Interrupt()
    counter.watch(case, world)
    if counter.calls < 4:
        raise Skip("too short to be interrupted midway")
    before = {name: state(value) for name, value in world.given.items()}
    for share in (0.25, 0.5, 0.9):
        interrupt = _Interrupt(max(1, int(share * counter.calls)))
        if not interrupt.watch(case, world) and interrupt.calls >= interrupt.at:
            raise Failed("the call swallows KeyboardInterrupt")
        changed = [name for name, value in world.given.items() if state(value) != before[name]]
        if changed:
            raise Failed(f"an interrupted call leaves its arguments changed: {', '.join(changed)}")
    if digest(case.run(world)) != expected:
        raise Failed("a call after an interrupted one gives another result")
