"""Checks a built wheel: nothing that does not belong, the weights and templates that must, and an import on its own.

``python wheel_check.py FILE.whl``. The wheel goes into a clean environment without the source tree; the libraries it needs
are lent by the environment that runs this.
"""

import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 25 * 2**20
UNWANTED = (".map", ".pyc", ".so", ".pt", ".bin", ".pkl", ".npy")
PROGRAM = """
import sys, time
start = time.perf_counter()
import microtome as mt
seconds = time.perf_counter() - start
heavy = {"transformers", "pyarrow", "sklearn", "matplotlib", "plotly", "starlette"} & set(sys.modules)
assert not heavy, f"import microtome loads {sorted(heavy)}"
assert "site-packages" in mt.__file__, mt.__file__
from microtome.organisms import names
from microtome.organisms.shelf import folder
shipped = [n for n in names() if folder(n).is_dir()]
for name in shipped:
    mt.load(f"organism:{name}")
print(f"wheel: imports in {seconds:.2f} s, {len(shipped)} organisms with weights load")
"""


def files(wheel: Path) -> list[str]:
    """Names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def problems(names: list[str], size: int, source: Path = ROOT / "src") -> list[str]:
    """What is wrong with the contents: files that do not belong, files of the source tree that are missing."""
    wrong = [f"does not belong: {n}" for n in names if n.endswith(UNWANTED)]
    wrong += [f"does not belong: {n}" for n in names if not n.startswith(("microtome/", "microtome-"))]
    wrong += [f"does not belong: {n}" for n in names if "/tests/" in n or "__pycache__" in n]
    have = set(names)
    kept = [p for p in sorted((source / "microtome").rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    wrong += [f"missing: {p.relative_to(source)}" for p in kept if p.relative_to(source).as_posix() not in have]
    if not any("/weights/" in n and n.endswith(".safetensors") for n in names):
        wrong.append("missing: the weights of the organisms")
    if not any(n.endswith("licenses/LICENSE") for n in names):
        wrong.append("missing: LICENSE")
    return wrong + ([f"{size / 2**20:.1f} MB is more than {LIMIT / 2**20:.0f} MB"] if size > LIMIT else [])


def imports(wheel: Path, scratch: Path) -> str:
    """What the wheel says when it is imported from a clean environment."""
    venv.create(scratch / "clean", with_pip=False, symlinks=True)
    python = scratch / "clean" / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.run([python, "-c", query], capture_output=True, text=True, check=True).stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Only the folder is lent: .pth files in it (editable installs) are not read through this one.
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    done = subprocess.run([python, "-I", "-c", PROGRAM], capture_output=True, text=True, cwd=scratch, check=False)
    if done.returncode:
        raise SystemExit(f"the wheel does not import:\n{done.stderr}")
    return done.stdout.strip()


def main(arguments: list[str]) -> int:
    """Check the wheel that the only argument names; 1 when something is wrong."""
    wheel = Path(arguments[0])
    names = files(wheel)
    wrong = problems(names, wheel.stat().st_size)
    for line in wrong:
        sys.stderr.write(f"{wheel.name}: {line}\n")
    if wrong:
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        sys.stdout.write(imports(wheel, Path(scratch)) + "\n")
    sys.stdout.write(f"wheel: {wheel.name}, {wheel.stat().st_size / 2**20:.2f} MB, {len(names)} files\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
