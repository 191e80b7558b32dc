"""Checks 12 and 20: the method has an independent oracle in the tests, and users can find it."""

import ast
import importlib
import re
from pathlib import Path

import microtome
from microtome import methods
from microtome.testing.case import Case
from microtome.testing.report import Failed, Skip

#: A test with one of these words in its name compares the method with something written independently.
WORDS = "oracle|reference|peer|exact|identity|brute|by_hand|closed_form|planted|equal|agree|recover|scikit|matches|same_as"
ORACLE = re.compile(WORDS, re.IGNORECASE)


def listed(case: Case) -> None:
    """Check 20: the method is in the list, exported by its room, and found by its name and summary."""
    about = case.method
    if not case.function.__module__.startswith("microtome."):
        raise Skip("a method outside the package is not in its list")
    if methods.all_methods().get(about.key) != about:
        raise Failed("microtome.methods does not list it")
    room = importlib.import_module(f"microtome.{about.room}")
    if getattr(room, about.key, None) is not case.function:
        raise Failed(f"microtome.{about.room} does not export it")
    if about not in methods.find(about.key):
        raise Failed("a search for its key does not find it")


def oracle(case: Case) -> None:
    """Check 12: a test of the room compares it with an independent implementation (the test itself runs with pytest)."""
    folder = Path(microtome.__file__).parents[2] / "tests" / case.method.room
    if not (folder.parent / "conftest.py").is_file() or not case.function.__module__.startswith("microtome."):
        raise Skip("oracles stand in the tests of a source checkout")
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if case.method.key in text and _compares(text, case.method.key, path.stem):
            return
    raise Failed(
        f"no test in tests/{case.method.room} that mentions {case.method.key} is named after an oracle; "
        f"its name holds one of: {WORDS}"
    )


def _compares(text: str, key: str, stem: str) -> bool:
    """Whether a test function named after an oracle mentions the method (in its body, or by the name of its file)."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and ORACLE.search(node.name):
            body = ast.get_source_segment(text, node) or ""
            decorators = " ".join(ast.unparse(d) for d in node.decorator_list)
            if key in body or key in decorators or key in stem:
                return True
    return False
