"""Run only what follows a site, over and over: modules that have ended before it are passed over.

A first run of the unchanged module tells which modules end before the site is reached. Where the site is overwritten as a
whole, what they compute is not needed: they get one row and hand on zeros. Modules around the site get the input that
they had in the first run, so that ways around it (a residual sum) are right. One run with the site's own values must then
give the logits of the first run; where it does not, everything runs in full.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from microtome.engine.oom import is_out_of_memory
from microtome.errors import MicrotomeError
from microtome.subject.edit import patch
from microtome.subject.hooks import first_input, with_input
from microtome.subject.site import Site

#: Largest difference from the logits of the first run, relative to their spread.
TOLERANCE = 1e-4
#: For fewer copies of the batch, finding out what can be passed over costs more than it saves.
LEAST = 6
#: What a forward may raise that cannot be run in part.
BROKEN = (MicrotomeError, RuntimeError, TypeError, ValueError, LookupError, AttributeError)

Result = TypeVar("Result")


@dataclass
class Suffix:
    """What of a module need not run when a site is overwritten.

    Attributes
    ----------
    passed : tuple of str
        Modules that end before the site.
    around : dict of str to Tensor[n, ...]
        Modules that the site lies in -> the input that they had.
    own : bool
        Whether zeros have memory of their own: an activation that is used again behind the site may write to them.
    """

    module: nn.Module
    site: Site
    rows: int
    passed: tuple[str, ...] = ()
    around: dict[str, Tensor] = field(default_factory=dict)
    own: bool = False

    def leaves(self, site: Site) -> bool:
        """Whether another site is still reached."""
        if (site.module, site.at) == (self.site.module, self.site.at):
            return True
        return not any(site.module == path or site.module.startswith(f"{path}.") for path in self.passed)

    @contextmanager
    def alone(self, times: int) -> Iterator[None]:
        """Within the context a forward of the batch stacked `times` times computes only what follows the site."""
        rows = self.rows * times

        def cut(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return _each((args, kwargs), lambda x: x[:1].contiguous().clone() if x.ndim and len(x) == rows else x)

        def zeros(x: Tensor) -> Tensor:
            shape = (rows, *x.shape[1:])
            return x.new_zeros(shape) if self.own else x.new_zeros(1).expand(shape)

        def fill(_module: nn.Module, _args: tuple, output: Any) -> Any:
            return _each(output, lambda x: zeros(x) if x.ndim and len(x) == 1 else x)

        def hand(value: Tensor) -> Callable:
            def swap(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
                key, _ = first_input(args, kwargs, self.site)
                return with_input(args, kwargs, key, value.repeat(times, *[1] * (value.ndim - 1)))

            return swap

        with ExitStack() as stack:
            for path in self.passed:
                part = self.module.get_submodule(path)
                stack.callback(part.register_forward_pre_hook(cut, with_kwargs=True).remove)
                stack.callback(part.register_forward_hook(fill).remove)
            for path, value in self.around.items():
                part = self.module.get_submodule(path)
                stack.callback(part.register_forward_pre_hook(hand(value), with_kwargs=True).remove)
            yield

    def after(self, times: int, call: Callable[[], Result]) -> Result:
        """What a call gives that runs the batch stacked `times` times; in full where the suffix breaks at this size."""
        try:
            with self.alone(times):
                return call()
        except BROKEN as error:
            if is_out_of_memory(error):
                raise
        return call()


def suffix_of(subject: Any, bound: Any, site: str, also: Sequence[str] = ()) -> Suffix | None:
    """The suffix behind a site, or None where there is little to pass over or it does not give the network's own logits.

    Parameters
    ----------
    subject : Subject
    bound : BoundTask
        Or anything with `inputs`, and a `metric` that has `positions`.
    site : str
        The site that is to be overwritten as a whole.
    also : sequence of str
        Sites that must be reached.
    """
    place = subject.site(site)
    if place.at not in ("input", "output") or place.module == _first(subject.module):
        return None
    found = Suffix(subject.module, place, len(bound.inputs))
    positions = getattr(bound.metric, "positions", None)
    rows = "all" if positions is None else positions
    with _watched(found):
        run = subject.run(bound.inputs, record=[place.name], logits=rows)
    if not found.passed or not all(found.leaves(subject.site(s)) for s in also):
        return None
    for found.own in (False, True):
        try:
            with found.alone(1):
                again = subject.run(bound.inputs, edits=[patch(place.name, run[place.name])], logits=rows)
            logits, same = run.logits, again.logits
        except BROKEN:  # the modules do not take one row, or something writes to the zeros
            continue
        spread = max(float((logits.max() - logits.min()).abs()), 1e-12)
        right = logits.shape == same.shape and float((logits - same).abs().max()) <= TOLERANCE * spread
        return found if right else None  # what follows reads more than the site
    return None


@contextmanager
def _watched(found: Suffix) -> Iterator[None]:
    """Fill in which modules end before the site, and what those around it are given."""
    calls: dict[str, int] = {}
    ended: dict[str, int] = {}
    reached: list[str] = []
    module, place = found.module, found.site
    inside = {path for path in _ancestors(place.module) if type(module.get_submodule(path)) is not nn.Sequential}

    def before(path: str) -> Callable:
        def hook(_module: nn.Module, args: tuple, kwargs: dict) -> None:
            if not path:  # the first run may be made twice, where a recorded tensor was overwritten
                for counted in (calls, ended, reached):
                    counted.clear()
            calls[path] = calls.get(path, 0) + 1
            if path in inside and not reached:
                _, value = first_input(args, kwargs, place)
                if value.is_floating_point():
                    found.around[path] = value.clone()
            if path == place.module and place.at == "input":
                reached.append(path)

        return hook

    def after(path: str) -> Callable:
        def hook(_module: nn.Module, _args: tuple, _output: Any) -> None:
            ended[path] = ended.get(path, 0) + (not reached)
            if path == place.module and place.at == "output":
                reached.append(path)

        return hook

    with ExitStack() as stack:
        for path, part in module.named_modules():
            stack.callback(part.register_forward_pre_hook(before(path), with_kwargs=True).remove)
            stack.callback(part.register_forward_hook(after(path)).remove)
        yield
    if len(reached) != 1:  # never, or several times: nothing can be passed over
        return
    chosen: list[str] = []
    for path, part in module.named_modules():
        if not ended.get(path) or ended[path] != calls[path] or any(path.startswith(f"{p}.") for p in chosen):
            continue
        # Other modules without weights may make what later ones read: rotary tables, masks.
        if any(True for _ in part.parameters()) or type(part).__module__.startswith("torch.nn."):
            chosen.append(path)
    found.passed = tuple(chosen)


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _first(module: nn.Module) -> str:
    """The first layer with weights of its own: before it there is nothing to pass over."""
    return next((name for name, part in module.named_modules() if any(True for _ in part.parameters(recurse=False))), "")


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Tensors within tuples, lists and mappings changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        parts = [_each(v, change) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        made = {k: _each(v, change) for k, v in value.items()}
        return made if type(value) is dict else type(value)(**made)
    return value
