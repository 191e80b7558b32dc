"""Shared fixtures: where the public assets are, and the same draws in every run."""

import os
import random
import zlib
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


@pytest.fixture(autouse=True)
def same_draws(request: pytest.FixtureRequest) -> None:
    """Whatever a test draws from a global generator depends on the test's name alone, not on what ran before it."""
    import numpy as np
    import torch

    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
