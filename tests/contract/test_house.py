"""The rules of the house that can be read off the source."""

import ast
import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import microtome.errors
from microtome.errors import MicrotomeError

sys.path.insert(0, str(Path(__file__).parent))
from house import ROOMS, ROOT, SRC, calls, is_property, method_files, public_functions, repeated_share, trees

OPTIONS, LINES, METHODS, SHARE = 8, 250, 20, 0.25
#: Public signatures that take **names, and why.
VARIADIC = {
    "from_parts": "the storage protocol of bases; `about` goes from a file to the constructor, never from a user",
    "PrefixCache.update": "the signature that transformers calls",
    "cli/command.py: command": "options of Typer.command, which checks them",
    "Root.main": "the signature that click calls",
    "RecordedOnly.run": "raises NotEditable whatever is asked",
}
HEAVY = ("transformers", "pyarrow", "matplotlib", "plotly", "starlette", "sklearn", "pandas.plotting", "datasets")
#: Calls that run code from a file, or move a generator that belongs to the user; where each may stand.
FORBIDDEN = {
    "print": (), "eval": (), "exec": (), "pickle.load": (), "pickle.loads": (), "joblib.load": (), "yaml.load": (),
    "torch.load": ("io/_unsafe.py", "io/torchfile.py"), "sympy.sympify": (), "sympify": (),
    "random.seed": ("testing/checks/seeding.py",), "np.random.seed": ("testing/checks/seeding.py",),
    "np.random.rand": (), "np.random.randn": (),
    "os.system": (), "breakpoint": (),
}  # fmt: skip


def test_no_signature_swallows_a_misspelt_option():
    found = [f"{file}: {name}" for file, name, node in public_functions() if node.args.kwarg]
    assert [f for f in found if not f.endswith(tuple(VARIADIC))] == []


def test_functions_have_at_most_eight_options():
    """Keyword-only arguments of the public functions of the method rooms."""
    functions = [row for row in public_functions() if row[0].split("/")[0] in ROOMS and "." not in row[1]]
    found = {f"{file}: {name}": len(node.args.kwonlyargs) for file, name, node in functions}
    assert {name: n for name, n in found.items() if n > OPTIONS} == {}


def test_method_files_are_short():
    lines = {str(p.relative_to(SRC)): len(p.read_text(encoding="utf-8").splitlines()) for p in method_files()}
    assert {name: n for name, n in lines.items() if n > LINES} == {}


def test_other_long_files_are_known():
    """Not an error, but seen: the list is printed with the warnings."""
    lines = {file: len((SRC / file).read_text(encoding="utf-8").splitlines()) for file in trees()}
    long = {file: n for file, n in lines.items() if n > LINES}
    if long:
        warnings.warn(f"files over {LINES} lines: {long}", stacklevel=1)
    assert {file: n for file, n in long.items() if n > 2 * LINES} == {}


def test_classes_are_small():
    found = {}
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                own = [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
                found[f"{file}: {node.name}"] = len([n for n in own if not is_property(n)])
    assert {name: n for name, n in found.items() if n > METHODS} == {}


def test_method_rooms_do_not_repeat_themselves():
    files = [path for room in ROOMS for path in sorted((SRC / room).rglob("*.py")) if path.name != "__init__.py"]
    share, worst = repeated_share(files)
    assert share <= SHARE, f"{share:.0%} of long lines stand in two files:\n" + "\n".join(worst)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_calls(name):
    allowed = FORBIDDEN[name]
    found = [f"{file}:{node.lineno}" for file, node in calls(name) if file not in allowed]
    found = [place for place in found if not place.startswith("cli/")] if name == "print" else found
    assert not found


def test_torch_is_seeded_only_where_the_generator_is_given_back():
    """Inside ``with torch.random.fork_rng(...)``, for libraries that draw from the global generator."""
    found = []
    seeds = list(calls("torch.manual_seed"))
    for file in {name for name, _ in seeds}:
        guarded = {
            id(inner)
            for node in ast.walk(trees()[file])
            if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item) for item in node.items)
            for inner in ast.walk(node)
        }
        here = [node for name, node in seeds if name == file and id(node) not in guarded]
        found += [f"{file}:{node.lineno}" for node in here]
    assert [place for place in found if "checks/seeding.py" not in place] == []


def test_remote_code_is_never_trusted():
    """Only `load` passes the user's own word on, and its default is False."""
    from microtome.loading import load

    assert inspect.signature(load).parameters["trust_remote_code"].default is False
    found = []
    for file, tree in trees().items():
        for node in ast.walk(tree):
            trusted = isinstance(node, ast.keyword) and node.arg == "trust_remote_code"
            if trusted and not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.append(file)
    assert set(found) <= {"loading.py"}


def test_public_errors_have_one_base():
    kinds = [v for n, v in vars(microtome.errors).items() if inspect.isclass(v) and issubclass(v, Exception)]
    assert len(kinds) > 10
    assert all(issubclass(kind, MicrotomeError) for kind in kinds)
    assert all(inspect.getdoc(kind) and kind.exit_code in (1, 2, 3, 4) for kind in kinds)


def test_no_untyped_error_is_raised():
    """`raise ValueError` and its like never reach a user."""
    untyped = {"ValueError", "RuntimeError", "AssertionError", "Exception", "BaseException"}
    found = []
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                if isinstance(raised, ast.Name) and raised.id in untyped:
                    found.append(f"{file}:{node.lineno} {raised.id}")
    assert not found


def test_named_extras_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = re.split(r"^\[", project.split("[project.optional-dependencies]")[1], flags=re.MULTILINE)[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    texts = [*SRC.rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    named = {(p.name, e) for p in texts for e in re.findall(r"microtome\[([\w,]+)\]", p.read_text(encoding="utf-8"))}
    named |= {(f, node.args[1].value) for f, node in calls("MissingExtra.of") if isinstance(node.args[1], ast.Constant)}
    assert extras, "no extras were read from pyproject.toml"
    assert {(file, extra) for file, text in named for extra in text.split(",") if extra not in extras} == set()


def test_import_is_light():
    """`import microtome` imports none of the heavy libraries, prints nothing, and draws no random number."""
    code = (
        "import sys, random, numpy; before = (random.getstate(), numpy.random.get_state()[1].tobytes());"
        "import microtome; heavy = sorted(set(sys.argv[1:]) & set(sys.modules));"
        "assert before == (random.getstate(), numpy.random.get_state()[1].tobytes());"
        "sys.stderr.write(' '.join(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
