"""``microtome doctor``: what is installed here, and what is missing."""

import os
import re
from importlib import metadata
from typing import Any

import typer

from microtome.cli.answer import Answer, Grid
from microtome.cli.command import command

CORE = ("torch", "transformers", "safetensors", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "typer", "rich")
#: Named with whether they are set, never with their values.
VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HF_TOKEN", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "MICROTOME_REPLICATIONS")
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+).*;.*\bextra\s*==\s*['\"]([A-Za-z0-9._-]+)['\"]")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor", examples=("microtome doctor", "microtome doctor --json"))(doctor)


def doctor() -> Answer:
    """Show versions, devices, extras, organisms and limits; exit code 1 when something that every command needs is missing."""
    import platform

    from microtome import __version__

    versions = {"microtome": __version__, "python": platform.python_version(), **{name: _version(name) for name in CORE}}
    missing = [name for name, version in versions.items() if version is None]
    extras = {name: [p for p in packages if _version(p) is None] for name, packages in _extras().items()}
    devices, organisms, limits = _devices(), _organisms(), _limits()
    variables = {name: bool(os.environ.get(name)) for name in VARIABLES}
    data = {"versions": versions, "missing": missing, "devices": devices, "extras": extras, "organisms": organisms,
            "limits": limits, "variables_set": variables}  # fmt: skip
    rows = [["versions", ", ".join(f"{k} {v or 'MISSING'}" for k, v in versions.items())],
            ["devices", "; ".join(devices)],
            *([f"extra {name}", "ready" if not absent else f"pip install 'microtome[{name}]' (lacks {', '.join(absent)})"]
              for name, absent in extras.items()),
            ["organisms", f"{sum(organisms.values())} of {len(organisms)} have their weights"
             + "".join(f", {n} is missing" for n, there in organisms.items() if not there)],
            *([name, value] for name, value in limits.items()),
            ["variables set", ", ".join(n for n, there in variables.items() if there) or "none"]]  # fmt: skip
    verdict = f"Missing: {', '.join(missing)}." if missing else "All that the commands need is here."
    return Answer(data, [Grid(["", ""], rows), verdict], int(bool(missing)))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, list[str]]:
    """Packages of each extra, as the installed package declares them; empty when it runs from its source alone."""
    try:
        declared = metadata.requires("microtome") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for line in declared:
        match = _REQUIREMENT.match(line)
        if match:
            found.setdefault(match[2], []).append(match[1])
    return dict(sorted(found.items()))


def _devices() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    found = [f"cpu ({torch.get_num_threads()} threads of {os.cpu_count()})"]
    found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def _organisms() -> dict[str, bool]:
    try:
        from microtome.organisms import registry, shelf
    except ImportError:
        return {}
    return {n: n in registry.COMPILED or (shelf.folder(n) / shelf.WEIGHTS).is_file() for n in registry.names()}


def _limits() -> dict[str, Any]:
    import shutil

    found = {"free disk": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB"}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    return found
