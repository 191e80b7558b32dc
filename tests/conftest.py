"""Shared fixtures: where the public assets are, one thread, and a guard that no test touches the global random state."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of public models and data; the test skips, saying so, where it is absent."""
    folder = Path(os.environ.get("MICROTOME_ASSETS", ROOT.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip("public assets are not on this machine (set MICROTOME_ASSETS)")
    return folder
