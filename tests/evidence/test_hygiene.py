"""Seeds, global generators, inputs, degenerate data, docstrings, and what this room may import."""

import ast
import contextlib
import doctest
import importlib
import inspect
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import microtome.evidence as ev
from microtome.errors import Degenerate, MicrotomeError, NonFinite, ShapeError, UsageError

FOLDER = Path(ev.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
FUNCTIONS = [name for name in ev.__all__ if inspect.isfunction(getattr(ev, name))]
A, B = np.random.default_rng(0).normal(size=(2, 20))
CALLS = {
    "bootstrap": lambda a, b, **k: ev.bootstrap(a, draws=50, **k),
    "bca": lambda a, b, **k: ev.bootstrap(a, draws=50, method="bca", **k),
    "paired": lambda a, b, **k: ev.paired_bootstrap(a, b, draws=50, **k),
    "cluster": lambda a, b, **k: ev.cluster_bootstrap(a, np.arange(len(a)) // 2, draws=50, **k),
    "permutation": lambda a, b, **k: ev.permutation_test(a, b, draws=50, **k),
    "blocks": lambda a, b, **k: ev.permutation_test(a, b, blocks=(np.arange(len(a)) % 3, np.arange(len(b)) % 3), draws=50, **k),
    "sign_flip": lambda a, b, **k: ev.sign_flip_test(a, draws=50, **k),
    "correlation": lambda a, b, **k: ev.correlation_test(a, b, draws=50, **k),
    "spearman": lambda a, b, **k: ev.correlation_test(a, b, method="spearman", draws=50, **k),
    "shift": lambda a, b, **k: ev.circular_shift_test(a, b, draws=10, **k),
    "best_of_k": lambda a, b, **k: ev.best_of_k(a, float(b[0]), 3, draws=50, **k),
    "salmon": lambda a, b, **k: ev.salmon_finding({"s": a}, {"reinit": {"s": b}}, **k),
}


def content(result) -> str:
    return result.to_json() if isinstance(result, ev.Finding) else repr(result.to_dict())


@pytest.mark.parametrize("name", CALLS)
def test_same_seed_same_bytes_and_nothing_else_touched(name):
    import torch

    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
    inputs = A.copy(), B.copy()
    first, again, other = (content(CALLS[name](*inputs, seed=s)) for s in (3, 3, 4))
    assert first == again
    assert first != other
    assert (inputs[0] == A).all()
    assert (inputs[1] == B).all()
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tobytes() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_matched_random_seeds():
    same = [np.array(ev.matched_random([0, 1], [0] * 20, draws=5, seed=s)).tobytes() for s in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_is_refused(name, bad):
    a = A.copy()
    a[3] = bad
    with pytest.raises(NonFinite, match="NaN or infinite"):
        CALLS[name](a, B)


@pytest.mark.parametrize("name", CALLS)
def test_empty_is_refused(name):
    with pytest.raises((Degenerate, ShapeError, UsageError)):
        CALLS[name](A[:0], B[:1])


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "a", [A[:1], np.zeros(20), np.ones(20), np.full(20, 1e300), A * 1e-300, A.astype(np.float32), A.astype(np.float16)]
)
def test_extreme_input_gives_a_result_or_a_typed_error(name, a):
    with contextlib.suppress(MicrotomeError):  # any other error fails the test
        assert "nan" not in str(CALLS[name](a, B[: len(a)]))


def test_declared_results_of_degenerate_input():
    constant = ev.bootstrap([2.0] * 5)
    assert (constant.low, constant.high) == (2.0, 2.0)
    assert "constant" in constant.method
    assert ev.sign_flip_test(np.zeros(30)).p == 1.0
    assert ev.permutation_test(np.ones(20), np.ones(20)).p == 1.0
    assert ev.permutation_test([1.0], [1.0]).p == 1.0
    with pytest.raises(Degenerate, match="at least 2 rows"):
        ev.bootstrap([1.0])
    with pytest.raises(Degenerate, match="constant"):
        ev.correlation_test(np.ones(9), np.arange(9.0))
    with pytest.raises(Degenerate, match="2 clusters"):
        ev.cluster_bootstrap([1.0, 2.0], ["a", "a"])
    with pytest.raises(Degenerate, match="no arrangement"):
        ev.permutation_test([1.0, 2.0], [3.0], blocks=(["x", "x"], ["y"]))
    with pytest.raises(Degenerate, match="one class"):
        ev.auroc([1.0, 2.0], [1, 1])
    with pytest.raises(Degenerate, match="percentile"):
        ev.cluster_bootstrap([1.0, 2.0, 2.0, 1.0], [0, 0, 1, 1], method="bca")
    with pytest.raises(NonFinite, match="resample"):
        ev.bootstrap([1.0, 2.0], statistic=lambda rows: np.nan if rows[0] == rows[1] else 1.0)
    with pytest.raises(NonFinite, match="resample"):
        ev.bootstrap([1.0, 2.0], statistic=lambda rows: np.nan)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: ev.bootstrap(A, level=2), UsageError, "level"),
    (lambda: ev.bootstrap(A, draws=0), UsageError, "draws"),
    (lambda: ev.bootstrap(A, method="normal"), UsageError, "percentile"),
    (lambda: ev.bootstrap(A, statistic="median"), UsageError, "function"),
    (lambda: ev.bootstrap(A[:, None]), ShapeError, "callable"),
    (lambda: ev.bootstrap(3.0), ShapeError, "single number"),
    (lambda: ev.bootstrap(["a", "b"]), UsageError, "numbers"),
    (lambda: ev.bootstrap(A, seed=-1), UsageError, "seed"),
    (lambda: ev.paired_bootstrap(A, B[:5]), ShapeError, "paired"),
    (lambda: ev.cluster_bootstrap(A, [0, 1]), ShapeError, "clusters"),
    (lambda: ev.permutation_test(A, B, alternative="up"), UsageError, "two-sided"),
    (lambda: ev.permutation_test(A, B, draws=1.5), UsageError, "draws"),
    (lambda: ev.permutation_test(A, B, blocks=np.arange(40)), ShapeError, "pair"),
    (lambda: ev.permutation_test(A, B, blocks=([0], [1])), ShapeError, "blocks"),
    (lambda: ev.permutation_family(np.ones((3, 2)), np.ones((3, 4))), ShapeError, "same units"),
    (lambda: ev.permutation_family(np.ones((3, 0)), np.ones((3, 0))), Degenerate, "no units"),
    (lambda: ev.correlation_test(A, B[:5]), ShapeError, "same rows"),
    (lambda: ev.correlation_test(A, B, method="kendall"), UsageError, "spearman"),
    (lambda: ev.correlation_test(A[:2], B[:2]), Degenerate, "at least 3"),
    (lambda: ev.auroc(A, B), UsageError, "True/False"),
    (lambda: ev.auroc(A, [0, 1]), ShapeError, "one entry per row"),
    (lambda: ev.average_precision(A, np.eye(20)[:, :2]), ShapeError, "labels"),
    (lambda: ev.benjamini_hochberg([1.5]), UsageError, r"\[0, 1\]"),
    (lambda: ev.holm([np.nan]), NonFinite, "p must"),
    (lambda: ev.fdr_table([0.5], method="bonf"), UsageError, "holm"),
    (lambda: ev.fdr_table([0.5], ["a", "b"]), ShapeError, "name per p"),
    (lambda: ev.fdr_table([[0.5]]), ShapeError, "units"),
    (lambda: ev.max_statistic([1.0], [[1.0, 2.0]]), ShapeError, "draws, 1"),
    (lambda: ev.p_values([1.0], [[1.0, 2.0]]), ShapeError, "draws, 1"),
    (lambda: ev.NullFamily("k", [[1.0, 2.0]], [1.0]), ShapeError, "M, 1"),
    (lambda: ev.NullFamily("", [[1.0]], [1.0]), UsageError, "randomised"),
    (lambda: ev.NullFamily("k", [[1.0]], [1.0]).null(1), UsageError, "unit must"),
])
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    results = doctest.testmod(importlib.import_module(f"microtome.evidence.{module}"), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_and_signatures(name):
    function = getattr(ev, name)
    text, parameters = inspect.getdoc(function), inspect.signature(function).parameters
    assert not [p for p in parameters.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert len([p for p in parameters.values() if p.kind == p.KEYWORD_ONLY]) <= 8
    assert ">>>" in text
    if name == "library_versions":
        return
    order = [text.index(part) for part in ("\nParameters\n", "\nReturns\n", "\nRaises\n", "\nNotes\n", "\nExamples\n")]
    assert order == sorted(order)
    assert "Null: " in text
    assert "Misleads when" in text
    listed = text[order[0]:order[1]]
    assert all(parameter in listed for parameter in parameters)


def test_this_room_knows_only_the_base():
    allowed = ("microtome.errors", "microtome.rng", "microtome.evidence")
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(name.startswith(allowed) for name in names if name.startswith("microtome")), (path.name, names)
        assert len(path.read_text().splitlines()) <= 250


def test_importing_is_light():
    heavy = ("torch", "pandas", "scipy", "sklearn", "plotly")
    code = f"import sys, microtome.evidence; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
