"""Worlds of methods that take other nouns than their family offers: one module per method, named by its key.

A module offers what a family does: `tiny(method, seed)`, `null(method, seed)`, `truth(method, result, world)`,
`refusals(method)`, and `strangers(method)` where a second noun could belong to another subject.
"""

import importlib
import importlib.util
from typing import Any

from microtome.method import Method


def own_world(method: Method) -> Any:
    """The module with the worlds of a method, or None where its family's serve."""
    name = f"{__name__}.{method.key}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None
