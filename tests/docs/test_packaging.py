"""What ships: the pins agree with the dependencies, the wheel holds what it must, the arrows point one way."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages_text import ROOT
from wheel_check import problems

CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PINS = dict(re.findall(r"^([\w.-]+)==([\w.]+)", CONSTRAINTS, re.MULTILINE))
CORE = 60


def closure(package: str) -> set[str]:
    """Everything that installing a package brings, without extras, by normal name."""
    from packaging.requirements import Requirement

    found, todo = set(), [(package, frozenset())]
    while todo:
        here, chosen = todo.pop()
        if (here, chosen) in found:
            continue
        found.add((here, chosen))
        for text in importlib.metadata.requires(here) or ():
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in {"", *chosen}):
                todo.append((normal(need.name), frozenset(need.extras)))
    return {name for name, _ in found} - {package}


def normal(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_core_closure_is_small():
    pytest.importorskip("packaging")
    try:
        found = {name for name in closure("microtome") if not name.startswith(("nvidia-", "cuda-", "triton"))}
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("microtome or one of its dependencies is not installed here, only on the path")
    assert len(found) <= CORE, sorted(found)
    assert {name for name in found if name not in PINS and name != "setuptools"} == set()


def test_torch_is_pinned_first_and_every_pin_is_exact():
    lines = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    assert lines[0].startswith("torch==")
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+( ; python_version >= \"3\.11\")?", line)] == []


def test_makefile_and_pins_speak_of_one_torch():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"TORCH ?= torch=={PINS['torch']}\n" in makefile


def test_pins_are_above_the_floors():
    version = pytest.importorskip("packaging.version").Version
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("\ndependencies = [")[1].split("\n]")[0]
    floors = dict(re.findall(r"\"([\w-]+)>=([\d.]+)", section))
    assert len(floors) >= 15
    assert {n: f for n, f in floors.items() if version(PINS[normal(n)]) < version(f)} == {}


def test_scripts_are_sound():
    for script in (ROOT / ".ci" / "run",):
        assert script.stat().st_mode & 0o111
        assert "set -euo pipefail" in script.read_text(encoding="utf-8")
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_arrows_point_one_way():
    pytest.importorskip("importlinter")
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_wheel_check_finds_faults(tmp_path):
    source = tmp_path / "microtome"
    (source / "weights").mkdir(parents=True)
    (source / "__init__.py").write_text("")
    (source / "weights" / "model.safetensors").write_bytes(b"x")
    good = ["microtome/__init__.py", "microtome/weights/model.safetensors", "microtome-1.dist-info/licenses/LICENSE"]
    assert problems(good, 10, tmp_path) == []
    assert problems(good[:1] + good[2:], 10, tmp_path)[0] == "missing: microtome/weights/model.safetensors"
    assert any("does not belong" in p for p in problems([*good, "tests/test_a.py"], 10, tmp_path))
    assert any("does not belong" in p for p in problems([*good, "microtome/app.js.map"], 10, tmp_path))
    assert any("MB" in p for p in problems(good, 10**9, tmp_path))


@pytest.mark.slow
def test_wheel(tmp_path):
    pytest.importorskip("build")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    check = [sys.executable, str(Path(__file__).parent / "wheel_check.py"), *map(str, tmp_path.glob("*.whl"))]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
