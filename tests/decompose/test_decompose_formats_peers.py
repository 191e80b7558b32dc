"""Dictionaries that SAELens and dictionary_learning wrote, and ours read by them: the same codes and outputs.

Stored files of both libraries are always read. Where the environment of benchmarks/peers-sae.txt stands beside the checkout
(``.venv-peers-sae``, or the one that MICROTOME_PEERS names), fresh files are exchanged with it both ways.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from microtome import decompose as dc
from microtome.decompose.transcoding import Transcoder
from microtome.errors import FormatError, UsageError

HERE = Path(__file__).parent
STORED = HERE / "references" / "dictionaries"
KINDS = sorted(p.name for p in STORED.iterdir())
PEERS = Path(os.environ.get("MICROTOME_PEERS") or HERE.parents[1] / ".venv-peers")
PYTHON = PEERS.with_name(f"{PEERS.name}-sae") / "bin" / "python"
with_peer = pytest.mark.skipif(not PYTHON.is_file(), reason="the environment of benchmarks/peers-sae.txt is not installed")


def loaded(folder):
    load = dc.load_saelens if (folder / "cfg.json").exists() else dc.load_dictionary_learning
    return load(folder)


def outputs(basis, x):
    """Codes, and what is written, the skip connection included."""
    with torch.no_grad():
        return basis.encode(x), basis(x)


def agrees(folder):
    """Whether what we read gives the codes and outputs that the library gave."""
    stored = np.load(folder / "expected.npz")
    codes, output = outputs(loaded(folder), torch.from_numpy(stored["x"]))
    np.testing.assert_allclose(codes.numpy(), stored["codes"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(output.numpy(), stored["output"], rtol=1e-5, atol=1e-5)
    assert 0 < (stored["codes"] != 0).mean() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_stored_dictionaries_of_the_peers_give_their_codes(kind):
    agrees(STORED / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_again_is_the_same_function(kind, tmp_path):
    basis, x = loaded(STORED / kind), torch.from_numpy(np.load(STORED / kind / "expected.npz")["x"])
    dc.save_saelens(basis, tmp_path / "lens")
    again = dc.load_saelens(tmp_path / "lens")
    for ours, theirs in zip(outputs(again, x), outputs(basis, x), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert again.site == basis.site
    assert getattr(again, "writes", "") == getattr(basis, "writes", "")


def test_transcoders_keep_both_sites_and_refuse_what_the_peer_has_no_class_for(tmp_path):
    basis = dc.load_saelens(STORED / "saelens-skip_transcoder", writes="blocks.1.mlp.out")
    assert isinstance(basis, Transcoder)
    assert (basis.site, basis.writes) == ("blocks.1.resid_post", "blocks.1.mlp.out")
    dc.save_saelens(basis, tmp_path / "a")
    assert dc.load_saelens(tmp_path / "a").writes == "blocks.1.mlp.out"
    parts = {n: getattr(basis, n) for n in ("W_enc", "b_enc", "W_dec", "b_dec")}
    with pytest.raises(UsageError, match="TopK"):
        dc.save_saelens(Transcoder("a", writes="b", **parts, activation="topk", k=2), tmp_path / "b")
    with pytest.raises(UsageError, match="2 sites"):
        dc.save_saelens(Transcoder("a+c", writes="b", **parts, reads=("a", "c"), widths=(2, 4)), tmp_path / "b")
    assert not (tmp_path / "b").exists()
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "a" / "sae_weights.safetensors")
    save_file({n: t for n, t in weights.items() if n != "W_skip"}, tmp_path / "a" / "sae_weights.safetensors")
    with pytest.raises(FormatError, match="W_skip"):
        dc.load_saelens(tmp_path / "a")


def peer(*arguments):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(PYTHON), str(HERE / "peer_dictionaries.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@with_peer
@pytest.mark.slow
def test_fresh_files_of_the_peers_are_read(tmp_path):
    peer("write", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == KINDS
    for kind in KINDS:
        agrees(tmp_path / kind)


@with_peer
@pytest.mark.slow
def test_the_peers_read_what_we_write(tmp_path):
    bases = {}
    for kind in KINDS:
        basis = loaded(STORED / kind)
        dc.save_saelens(basis, tmp_path / f"lens-{kind}")
        bases[f"lens-{kind}"] = basis
        if not isinstance(basis, Transcoder) and (basis.centred or basis.activation == "jumprelu"):
            dc.save_dictionary_learning(basis, tmp_path / f"learning-{kind}")
            bases[f"learning-{kind}"] = basis
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(5))
    for name in bases:
        np.save(tmp_path / name / "inputs.npy", x.numpy())
    peer("read", tmp_path)
    for name, basis in bases.items():
        theirs = np.load(tmp_path / name / "peer.npz")
        codes, output = outputs(basis, x)
        np.testing.assert_allclose(theirs["codes"], codes.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(theirs["output"], output.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
    assert len(bases) > len(KINDS) + 8
