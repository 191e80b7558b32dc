"""Check 3: the docstring has its sections in order, tells the truth about the signature, and its example runs."""

import ast
import doctest as doctests
import importlib
import inspect
import io
import re
import textwrap

import microtome.errors
from microtome.testing.case import Case
from microtome.testing.report import Failed

ORDER = ("Parameters", "Returns", "Raises", "Notes", "Examples", "References")
HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
ENTRY = re.compile(r"^([\w, ]+?) ?: (.+(?:\n(?: .*)?$)*)", re.MULTILINE)
DEFAULT = re.compile(r"\b[Dd]efault:? *=? *`*([^\s,`]+)")


def sections(doc: str) -> dict[str, str]:
    """The numpydoc sections of a docstring, by heading, in order; the text before them under the empty name."""
    parts = HEADING.split(doc)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def docstring(case: Case) -> None:
    """Check 3: sections, their order, names, defaults and raised errors agree with the code; the null is stated."""
    doc = inspect.getdoc(case.function) or ""
    found = sections(doc)
    missing = [name for name in ORDER if not found.get(name, "").strip()]
    if missing:
        raise Failed(f"docstring lacks {', '.join(missing)}")
    if [name for name in found if name in ORDER] != list(ORDER):
        raise Failed(f"docstring sections are not in the order {', '.join(ORDER)}")
    if not case.method.summary.endswith("."):
        raise Failed("the first line is not one sentence on one line")
    for word in ("Null:", "Misleads when"):
        if word not in found["Notes"]:
            raise Failed(f"Notes lack a line that starts with {word!r}")
    _parameters(case, found["Parameters"])
    _raises(case, found["Raises"])


def _parameters(case: Case, text: str) -> None:
    described = {}
    for names, rest in ENTRY.findall(text):
        described |= {name.strip(): rest for name in names.split(",")}
    absent = [name for name in case.parameters if name not in described]
    invented = [name for name in described if name not in case.parameters]
    if absent or invented:
        raise Failed(f"Parameters: undocumented {absent}, not in the signature {invented}")
    shared = {name.strip() for names, _ in ENTRY.findall(text) if "," in names for name in names.split(",")}
    for name, rest in described.items():
        stated = DEFAULT.search(rest)
        default = case.parameters[name].default
        if not stated or default is inspect.Parameter.empty or name in shared:
            continue
        if not _agree(stated.group(1).rstrip(".;:)"), default):
            raise Failed(f"Parameters: {name} is documented with default {stated.group(1)}, the code says {default!r}")


def _agree(stated: str, default: object) -> bool:
    """Whether a stated default is the code's. Words and formulas ("default: d / 2") are left to the reader."""
    try:
        value = ast.literal_eval(stated.replace("_", ""))
    except (ValueError, SyntaxError):
        return True
    return value == default or default is None


def _raises(case: Case, text: str) -> None:
    known = {name for name, value in vars(microtome.errors).items() if inspect.isclass(value)}
    documented = set(re.findall(r"^(\w+)", text, re.MULTILINE)) & (known | {"ValueError", "TypeError", "KeyError"})
    documented |= {name for name in known if re.search(rf"\b{name}\b", text)}
    if not documented & known:
        raise Failed(f"Raises names no typed error of microtome.errors ({', '.join(sorted(known))})")
    tree = ast.parse(textwrap.dedent(inspect.getsource(case.function)))
    calls = [n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    raised = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    if raised - documented:
        raise Failed(f"Raises does not name {', '.join(sorted(raised - documented))}, which the code raises")
    if raised - known:
        raise Failed(f"the code raises errors outside microtome.errors: {', '.join(sorted(raised - known))}")


def doctest(case: Case) -> None:
    """Check 3: the example in the docstring runs as printed."""
    module = importlib.import_module(case.function.__module__)
    names = {**vars(module), case.method.key: case.function}
    examples = doctests.DocTestFinder(recurse=False).find(case.function, case.method.key, globs=names)
    if not any(test.examples for test in examples):
        raise Failed("the docstring has no example")
    heard = io.StringIO()
    flags = doctests.NORMALIZE_WHITESPACE | doctests.ELLIPSIS
    runner = doctests.DocTestRunner(verbose=False, optionflags=flags)
    for test in examples:
        runner.run(test, out=heard.write)
    if runner.failures:
        raise Failed(f"example fails: {' | '.join(heard.getvalue().split(chr(10))[1:12])}")
