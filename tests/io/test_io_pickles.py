"""Promise 1: no crafted checkpoint runs code, and there is no way round the refusal."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from io_pickles import TARGETS, _raw, _reduce, crafted

from microtome import io as mio
from microtome.errors import FormatError, UnsafeContent
from microtome.io import torchfile

HERE = Path(__file__).parent


def _child(script: str, *args: str, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1] / "src")]), **environment}
    return subprocess.run(
        [sys.executable, str(HERE / script), *args], env=env, capture_output=True, text=True, timeout=300, check=True
    )


@pytest.mark.parametrize(
    "forced", ["1", pytest.param("0", marks=pytest.mark.slow)], ids=["environment asks for unsafe loads", "plain"]
)
def test_crafted_files_run_nothing(tmp_path, forced):
    report = json.loads(_child("run_pickles.py", str(tmp_path), TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=forced).stdout)
    assert report["files"] >= 300
    assert report["calls"] == 4 * report["files"]
    assert not report["canary"]
    assert report["events"] == []
    assert report["wrong"] == []


def test_the_crafted_files_are_armed(tmp_path):
    """The payloads do fire in an unguarded loader: otherwise the test above would prove nothing."""
    fired = 0
    for module, name, arguments in list(TARGETS.values())[5:10]:
        canary = tmp_path / f"{module}-{name}"
        pickle.loads(_raw(_reduce(module, name, arguments(str(canary)))))
        fired += canary.exists()
    assert fired == 5
    assert len({data for _, data in crafted("c")}) >= 290


def test_the_unsafe_door_needs_trust_per_file(tmp_path):
    path = tmp_path / "list.pt"
    torch.save({"a": torch.ones(2), "b": Path("x")}, path)
    with pytest.raises(UnsafeContent, match="holds more than tensors"):
        mio.read_torch(path)
    for trust in (mio.Trust.DATA, True, "code", None):
        with pytest.raises(UnsafeContent, match=r"Trust\.CODE"):
            mio.load_code(path, trust=trust)
    with pytest.raises(TypeError):
        mio.load_code(path)
    value, record = mio.load_code(path, trust=mio.Trust.CODE)
    assert value["b"] == Path("x")
    assert record == {"file": "list.pt", "hash": mio.hash_file(path), "trust": "code"}


def test_honest_checkpoints_load(tmp_path):
    state = torch.nn.Linear(3, 2).state_dict()
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.pt"):
        found = mio.read_torch(tmp_path / name)
        assert list(found) == list(state)
        assert all(torch.equal(found[key], state[key]) for key in state)


def test_an_old_torch_is_refused(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    monkeypatch.setattr(torchfile, "SAFE_SINCE", (99, 0))
    with pytest.raises(UnsafeContent, match="cannot read checkpoints safely"):
        mio.read_torch(tmp_path / "a.pt")


def test_torch_archive_that_claims_too_much(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (8 << 20))
    with pytest.raises(FormatError, match="claim"):
        mio.read_torch(tmp_path / "bomb.pt")
