"""Files of sparsify, circuit-tracer, Gemma Scope and OpenAI: the same codes and outputs as those libraries give.

``references/transcoders`` holds what they wrote (see peer_transcoders.py), which is always read. Where the environments of
benchmarks/peers-circuits.txt and peers-sae.txt stand beside the checkout, fresh files are exchanged with them both ways.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from microtome import decompose as dc
from microtome.decompose.transcoding import Transcoder
from microtome.errors import FormatError, UsageError

HERE = Path(__file__).parent
STORED = HERE / "references" / "transcoders"
KINDS = sorted(p.name for p in STORED.iterdir())
PEERS = Path(os.environ.get("MICROTOME_PEERS") or HERE.parents[1] / ".venv-peers")
SITES = {"site": "blocks.1.mlp.norm", "writes": "blocks.1.mlp.out"}


def python(name):
    return PEERS.with_name(f"{PEERS.name}-{name}") / "bin" / "python"


def with_peer(name):
    reason = f"the environment of benchmarks/peers-{name}.txt is not installed"
    return pytest.mark.skipif(not python(name).is_file(), reason=reason)


def loaded(folder):
    """What we make of a folder: a list of dictionaries, one for each layer of a set."""
    kind = folder.name.split("-")[0]
    if kind == "sparsify":
        return [dc.load_sparsify(folder / "layers.1.mlp")]
    if kind == "scope":
        about = SITES if "transcoder" in folder.name else {"site": "blocks.1.resid_post"}
        return [dc.load_gemma_scope(folder, **about)]
    if kind == "openai":
        return [dc.load_openai(folder / "autoencoder.pt", site="blocks.1.resid_post")]
    if "clt" in folder.name:
        return [dc.load_circuit_tracer(folder)]
    return [dc.load_circuit_tracer_layer(file) for file in sorted(folder.glob("layer_*.safetensors"))]


def outputs(bases, x):
    """Codes and outputs, layers side by side."""
    with torch.no_grad():
        pairs = [(basis.encode(part), basis(part)) for basis, part in zip(bases, x.chunk(len(bases), 1), strict=True)]
    return (torch.cat(found, 1) for found in zip(*pairs, strict=True))


def agrees(folder, bases, file="expected.npz", x=None):
    """Whether dictionaries give the codes and outputs that stand in a file."""
    stored = np.load(folder / file)
    codes, output = outputs(bases, torch.from_numpy(stored["x"]) if x is None else x)
    np.testing.assert_allclose(codes.numpy(), stored["codes"], rtol=1e-5, atol=1e-5, err_msg=folder.name)
    np.testing.assert_allclose(output.numpy(), stored["output"], rtol=1e-5, atol=1e-5, err_msg=folder.name)
    assert 0 < (stored["codes"] != 0).mean() < 1


def written(bases, kind, folder):
    """The same in the layout of a kind."""
    first = kind.split("-")[0]
    if first == "sparsify":
        dc.save_sparsify(bases[0], folder / "layers.1.mlp")
    elif first == "scope":
        folder.mkdir(parents=True)
        dc.save_gemma_scope(bases[0], folder / "params.npz")
    elif first == "openai":
        folder.mkdir(parents=True)
        dc.save_openai(bases[0], folder / "autoencoder.pt")
    elif "clt" in kind:
        dc.save_circuit_tracer(bases[0], folder, model_name="toy")
    else:
        for i, basis in enumerate(bases):
            dc.save_circuit_tracer_layer(basis, folder / f"layer_{i}.safetensors", model_name="toy")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_stored_files_of_the_peers_give_their_codes(kind):
    agrees(STORED / kind, loaded(STORED / kind))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "affine" not in kind])
def test_what_is_written_again_is_the_same_function(kind, tmp_path):
    bases = loaded(STORED / kind)
    again = loaded(written(bases, kind, tmp_path / kind))
    x = torch.from_numpy(np.load(STORED / kind / "expected.npz")["x"])
    for ours, theirs in zip(outputs(again, x), outputs(bases, x), strict=True):
        torch.testing.assert_close(ours, theirs)
    for one, other in zip(again, bases, strict=True):
        assert one.site == other.site
        assert getattr(one, "writes", "") == getattr(other, "writes", "")


def peer(name, *arguments):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(python(name)), str(HERE / "peer_transcoders.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@with_peer("circuits")
@pytest.mark.slow
def test_fresh_files_of_the_peers_are_read(tmp_path):
    peer("circuits", "write", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [k for k in KINDS if k.startswith(("sparsify", "tracer"))]
    for folder in tmp_path.iterdir():
        agrees(folder, loaded(folder))


def exchanged(name, kinds, folder):
    bases = {kind: loaded(STORED / kind) for kind in kinds}
    for kind, found in bases.items():
        width = sum(basis.width for basis in found)
        x = torch.randn(7, width, generator=torch.Generator().manual_seed(5))
        np.save(written(found, kind, folder / kind) / "inputs.npy", x.numpy())
    peer(name, "read", folder)
    for kind, found in bases.items():
        agrees(folder / kind, found, "peer.npz", torch.from_numpy(np.load(folder / kind / "inputs.npy")))


@with_peer("circuits")
@pytest.mark.slow
def test_the_peers_read_what_we_write(tmp_path):
    exchanged("circuits", [k for k in KINDS if k.startswith(("sparsify", "tracer"))], tmp_path)


@with_peer("sae")
@pytest.mark.slow
def test_saelens_reads_what_we_write_for_gemma_scope(tmp_path):
    exchanged("sae", [k for k in KINDS if k.startswith("scope") and "affine" not in k], tmp_path)


def test_what_would_change_the_function_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    layer = dc.load_circuit_tracer_layer(STORED / "tracer-set-jump_relu" / "layer_1.safetensors")
    assert (layer.site, layer.writes) == ("blocks.1.resid_mid", "blocks.1.mlp.out")
    with pytest.raises(UsageError, match="layer_3"):
        dc.save_circuit_tracer_layer(layer, tmp_path / "transcoder.safetensors")
    with pytest.raises(UsageError, match=r"blocks\.2"):
        dc.save_circuit_tracer_layer(layer, tmp_path / "layer_2.safetensors")
    dc.save_circuit_tracer_layer(layer, tmp_path / "layer_1.safetensors")
    other = dc.load_circuit_tracer_layer(tmp_path / "layer_1.safetensors", site="blocks.0.mlp.norm", writes="blocks.0.mlp.out")
    with pytest.raises(UsageError, match="other hooks"):
        dc.save_circuit_tracer_layer(other, tmp_path / "layer_0.safetensors")
    tensors = load_file(tmp_path / "layer_1.safetensors")
    save_file(
        tensors | {"activation_function.threshold": -tensors["activation_function.threshold"]}, tmp_path / "n.safetensors"
    )
    with pytest.raises(FormatError, match="negative"):
        dc.load_circuit_tracer_layer(tmp_path / "n.safetensors", **SITES)
    with pytest.raises(FormatError, match="writes="):
        dc.load_circuit_tracer_layer(tmp_path / "n.safetensors")
    with pytest.raises(FormatError, match="load_circuit_tracer_layer"):
        dc.load_circuit_tracer(STORED / "tracer-set-relu")
    clt = dc.load_circuit_tracer(STORED / "tracer-clt-relu")
    shifted = dc.CrossLayerTranscoder(
        clt.site, reads=[f"layer{i}" for i in range(3)], writes=clt.writes, W_enc=clt.W_enc, b_enc=clt.b_enc,
        W_dec=clt.W_dec, b_dec=clt.b_dec,
    )  # fmt: skip
    with pytest.raises(UsageError, match="HOOK"):
        dc.save_circuit_tracer(shifted, tmp_path / "shifted")
    with pytest.raises(FormatError, match="skip"):
        dc.load_gemma_scope(STORED / "scope-transcoder_affine", site="blocks.1.mlp.norm")
    state = torch.load(STORED / "openai-topk" / "autoencoder.pt", weights_only=True)
    torch.save(state | {"activation_state_dict": {"k": 3, "postact_fn": "Identity"}}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="Identity"):
        dc.load_openai(tmp_path / "a.pt", site="a")
    kept = STORED / "sparsify-sae" / "layers.1.mlp"
    for said, option in {"sign": {"signed": True}, "skip": {"skip_connection": True}}.items():
        shutil.copytree(kept, tmp_path / said)
        (tmp_path / said / "cfg.json").write_text(json.dumps(json.loads((kept / "cfg.json").read_text()) | option))
        with pytest.raises(FormatError, match=said):
            dc.load_sparsify(tmp_path / said)
    parts = {"W_enc": torch.ones(6, 4), "b_enc": torch.ones(4), "W_dec": torch.ones(4, 5), "b_dec": torch.ones(5)}
    wide = Transcoder("a", writes="b", **parts, activation="topk", k=2)
    with pytest.raises(UsageError, match="6 to 5"):
        dc.save_sparsify(wide, tmp_path / "wide")
