"""What the structural tests read: the package as syntax trees."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "microtome"
ROOMS = ("attribute", "compare", "decompose", "describe", "distil", "dynamics", "read", "search", "trace")


@cache
def trees() -> dict[str, ast.Module]:
    """Every file of the package by its path from the package."""
    files = sorted(SRC.rglob("*.py"))
    return {str(p.relative_to(SRC)): ast.parse(p.read_text(encoding="utf-8")) for p in files}


def public_functions() -> Iterator[tuple[str, str, ast.FunctionDef]]:
    """(file, qualified name, definition) of public functions and of the public methods of public classes."""
    for file, tree in trees().items():
        if any(part.startswith("_") and part != "__init__.py" for part in Path(file).parts):
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield file, node.name, node
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not re.match(r"_(?!_init__)", inner.name):
                        yield file, f"{node.name}.{inner.name}", inner


def method_files() -> list[Path]:
    """Files that hold a function decorated with @method(...)."""
    return [SRC / file for file, tree in trees().items() if any(map(_is_method, ast.walk(tree)))]


def _is_method(node: ast.AST) -> bool:
    calls = [d.func for d in getattr(node, "decorator_list", []) if isinstance(d, ast.Call)]
    return any(isinstance(c, ast.Name) and c.id == "method" for c in calls)


def is_property(node: ast.FunctionDef) -> bool:
    """Whether a method is read like an attribute."""
    return any("property" in ast.unparse(d) for d in node.decorator_list)


def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Calls of a dotted name, with the file they stand in."""
    return _calls().get(name, [])


@cache
def _calls() -> dict[str, list[tuple[str, ast.Call]]]:
    """All calls by the dotted name that is called."""
    found = defaultdict(list)
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found[ast.unparse(node.func)].append((file, node))
    return dict(found)


def repeated_share(files: list[Path]) -> tuple[float, list[str]]:
    """Share of lines over 25 characters that also stand in another file, and the most repeated ones.

    Docstring headings are shorter than that or rulers; both are left out.
    """
    where = defaultdict(set)
    lines = [(path, line.strip()) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [(path, line) for path, line in lines if len(line) > 25 and not re.fullmatch(r"[-=#]+", line)]
    for path, line in lines:
        where[line].add(path)
    repeated = [line for _, line in lines if len(where[line]) > 1]
    worst = sorted(set(repeated), key=lambda line: -len(where[line]))[:12]
    return len(repeated) / max(1, len(lines)), [f"{len(where[line])} x {line}" for line in worst]
