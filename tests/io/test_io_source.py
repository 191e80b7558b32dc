"""Promise 1, in the source: nothing outside io/_unsafe.py can run code from data."""

import ast
from pathlib import Path

import pytest

import microtome

SOURCE = Path(microtome.__file__).parent
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    ("torch", "load"), ("torch", "jit.load"), ("torch", "hub.load"), ("torch", "package"), ("joblib", "load"),
    ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("pd", "read_pickle"), ("pandas", "read_pickle"),
    ("sympy", "sympify"), ("sympy", "parse_expr"), ("torch", "serialization.load"),
}  # fmt: skip
NAMES = {"sympify", "parse_expr", "read_pickle", "unsafe_load", "full_load"}


def offences(tree: ast.AST) -> list[tuple[int, str]]:
    """Every use of an unpickler, evaluator or unsafe loader: (line, what)."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            root = (node.module or "").split(".")[0]
            names = {alias.name for alias in node.names}
            found += [(node.lineno, root)] if root in MODULES else []
            found += [(node.lineno, name) for name in names & NAMES]
            found += [(node.lineno, f"{root}.load")] if root in ("torch", "yaml", "numpy") and "load" in names else []
        elif isinstance(node, ast.Call):
            what = _dotted(node.func)
            base, _, rest = what.partition(".")
            evaluates = what in BUILTINS or (base == "builtins" and rest in BUILTINS)
            named = what.split(".")[-1] in NAMES
            if evaluates or named or ((base, rest) in ATTRIBUTES):
                found.append((node.lineno, what))
            found += [
                (node.lineno, "allow_pickle")
                for keyword in node.keywords
                if keyword.arg == "allow_pickle" and not _is(keyword.value, False)
            ]
            found += [
                (node.lineno, "weights_only")
                for keyword in node.keywords
                if keyword.arg == "weights_only" and not _is(keyword.value, True)
            ]
            found += [
                (node.lineno, "trust_remote_code")
                for keyword in node.keywords
                if keyword.arg == "trust_remote_code" and _is(keyword.value, True)  # only by the user's own word
            ]
    return found


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def _is(node: ast.AST, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _allowed(path: Path, offence: str) -> bool:
    place = path.relative_to(SOURCE).as_posix()
    if place == "io/_unsafe.py":
        return True
    # torchfile names pickle only for the type of the error that torch raises
    return place == "io/torchfile.py" and offence in ("pickle", "torch.load")


def test_no_file_can_run_code_from_data():
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 15
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {what}"
        for path in files
        for line, what in offences(ast.parse(path.read_text(encoding="utf-8")))
        if not _allowed(path, what)
    ]
    assert found == []


def test_torchfile_loads_only_weights():
    """The exemption is exact: one torch.load, with the constant weights_only=True, and pickle only as an error type."""
    tree = ast.parse((SOURCE / "io" / "torchfile.py").read_text(encoding="utf-8"))
    loads = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _dotted(node.func) == "torch.load"]
    assert len(loads) == 1
    assert [keyword.value.value for keyword in loads[0].keywords if keyword.arg == "weights_only"] == [True]
    uses = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _dotted(node.value) == "pickle"]
    assert uses == ["UnpicklingError"]


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import joblib.externals", "import marshal", "import shelve",
        "import dill as d", "torch.load(p)", "torch.load(p, weights_only=False)", "f(p, weights_only=flag)",
        "np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=x)", "yaml.load(s)", "yaml.unsafe_load(s)",
        "from yaml import load", "eval('1')", "exec('1')", "compile(s, 'f', 'eval')", "__import__('os')",
        "builtins.eval(s)", "sympy.sympify(s)", "from sympy import sympify", "sp.parse_expr(s)", "pd.read_pickle(p)",
        "torch.hub.load(r, m)", "torch.jit.load(p)", "AutoModel.from_pretrained(p, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_scan_sees_each_kind(text):
    assert offences(ast.parse(text))


@pytest.mark.parametrize(
    "text",
    ["module.eval()", "self.module.eval()", "re.compile('a')", "torch.compile(m)", "json.load(f)", "np.load(p)"],
)
def test_the_scan_lets_ordinary_code_pass(text):
    assert not offences(ast.parse(text))


def test_writes_go_through_one_layer():
    """Inside io, nothing but _os renames, deletes, syncs or opens a file for writing."""
    found = []
    for path in sorted((SOURCE / "io").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or path.name == "_os.py":
                continue
            what = _dotted(node.func)
            if what in ("os.replace", "os.rename", "os.fsync", "os.write", "os.open", "os.ftruncate", "shutil.move"):
                found.append(f"{path.name}:{node.lineno}: {what}")
            modes = [arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)]
            if what == "open" and any(set(str(mode)) & set("wax+") for mode in modes):
                found.append(f"{path.name}:{node.lineno}: open for writing")
    assert found == []
