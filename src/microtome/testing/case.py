"""One method under test: its record, its family, and how to call it."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from microtome.errors import UsageError
from microtome.method import Method
from microtome.testing.report import Failed, Skip


@dataclass(frozen=True)
class World:
    """What a family offers a method: values by the name of the parameter that takes them, and the planted truth.

    Attributes
    ----------
    given : mapping of str to object
        Nouns by parameter name, e.g. ``{"recording": Recording, "labels": array}``.
    truth : mapping of str to object
        What was planted, for the family's `truth` score.
    settings : mapping of str to object
        Options that the family sets where the method has them, before the record's `tiny`.
    """

    given: Mapping[str, Any]
    truth: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A call that must be refused.

    Attributes
    ----------
    description : str
        What is wrong with it.
    given : mapping of str to object
        Arguments that replace those of the tiny world.
    error : type
        What must be raised.
    pattern : str
        Regular expression found in the message.
    use : callable, optional
        What is done with the result, when the refusal comes only then.
    """

    description: str
    given: Mapping[str, Any]
    error: type[Exception]
    pattern: str = ""
    use: Callable[[Any], Any] | None = None


class Case:
    """A method with the tiny worlds of its family.

    Parameters
    ----------
    method : Method
        The record; its `tiny` settings go into every call.
    seeds : int
        How many seeds the statistical checks use.
    """

    def __init__(self, method: Method, seeds: int = 3):
        if method.function is None:
            raise UsageError(f"the record of {method.key!r} has no function; decorate one with @method.")
        self.method = method
        self.seeds = range(seeds)
        self.function: Callable[..., Any] = method.function
        self.parameters = inspect.signature(method.function).parameters

    @property
    def family(self) -> Any:
        """The family module of the method's question."""
        name = f"microtome.testing.families.{self.method.question}"
        if importlib.util.find_spec(name) is None:
            raise Skip(f"no family of contract tests for the question {self.method.question!r} yet")
        return importlib.import_module(name)

    @property
    def data(self) -> list[str]:
        """Names of the leading arguments: the nouns."""
        return [p.name for p in self.parameters.values() if p.kind is not p.KEYWORD_ONLY]

    def world(self, seed: int = 0) -> World:
        """A world with planted structure."""
        return self.family.tiny(self.method, seed)

    @cached_property
    def usual(self) -> tuple[World, Any]:
        """The world of seed 0 and the result on it: computed once, for checks that change neither."""
        world = self.world()
        return world, self.run(world)

    def null(self, seed: int = 0) -> World:
        """The same without structure."""
        return self.family.null(self.method, seed)

    def run(self, world: World, replaced: Mapping[str, Any] | None = None, *, seed: int = 0) -> Any:
        """Call the method on a world (some of its values replaced), with its tiny settings."""
        replaced = replaced or {}
        offered = {**world.given, **replaced}
        missing = [n for n in self.data if n not in offered and self.parameters[n].default is inspect.Parameter.empty]
        if missing:
            raise Failed(
                f"argument {missing[0]!r} is no noun that the {self.method.question!r} family offers "
                f"({', '.join(sorted(offered))}); name it so, or extend testing/families/{self.method.question}.py"
            )
        args = [offered[n] for n in self.data if n in offered]
        options = [p for p in self.parameters.values() if p.kind is p.KEYWORD_ONLY]
        required = {p.name: offered[p.name] for p in options if p.default is p.empty and p.name in offered}
        chosen = {p.name: v for p in options for n, v in (*world.settings.items(), *replaced.items()) if n == p.name}
        settings = {**required, **self.method.tiny, **chosen}
        if self.method.stochastic:
            settings["seed"] = replaced.get("seed", seed)
        return self.function(*args, **settings)
