"""Dictionaries in the layouts of other libraries: files written here by hand, against each library's equations."""

import json

import numpy as np
import pytest
import torch
from planted_dictionary import plant
from safetensors.torch import save_file

from microtome import decompose as dc
from microtome.decompose.formats.openai import RowNormalised
from microtome.errors import FormatError, SubjectMismatch, UnsafeContent, UsageError
from microtome.subject.basis import edit_through, load_basis
from microtome.subject.recording import Recording

D, F, SITE = 5, 12, "blocks.1.resid_post"


def draws(seed=0):
    g = torch.Generator().manual_seed(seed)
    return lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)


class Anything:
    """What a state dict has no business to hold."""


draw = draws()
X = draw(7, D)
E, DEC, BE, BD, TH = draw(F, D), draw(F, D), draw(F), draw(D), draw(F).abs()  # rows are latents


def topk(pre, k):
    out = torch.zeros_like(pre)
    for b, row in enumerate(pre):
        kept = row.argsort(descending=True)[:k]
        out[b, kept] = row[kept].clamp_min(0)
    return out


PRE = (X - BD) @ E.T + BE


def learning(folder, kind, tensors, **about):
    folder.mkdir(exist_ok=True)
    torch.save(tensors, folder / "ae.pt")
    trainer = {"dict_class": kind, "activation_dim": D, "dict_size": F, "submodule_name": SITE, "lm_name": "toy"} | about
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    return folder


LINEAR = {"encoder.weight": E, "encoder.bias": BE, "decoder.weight": DEC.T.contiguous()}
R, GATE, MAG = 0.3 * draw(F), draw(F), draw(F)
READ = (X - BD) @ E.T
PLAIN = {"W_enc": E.T.contiguous(), "W_dec": DEC, "b_enc": BE, "b_dec": BD}
CODES = {
    "AutoEncoder": (LINEAR | {"bias": BD}, PRE.clamp_min(0)),
    "AutoEncoderTopK": (LINEAR | {"b_dec": BD, "k": torch.tensor(3), "threshold": torch.tensor(-1.0)}, topk(PRE, 3)),
    "BatchTopKSAE": (LINEAR | {"b_dec": BD, "k": torch.tensor(3), "threshold": torch.tensor(0.7)}, PRE * (PRE > 0.7)),
    "MatryoshkaBatchTopKSAE": (
        PLAIN | {"k": torch.tensor(3), "threshold": torch.tensor(0.7), "group_sizes": torch.tensor([4, 8])},
        PRE * (PRE > 0.7),
    ),
    "JumpReluAutoEncoder": (PLAIN | {"threshold": TH}, (X @ E.T + BE) * (X @ E.T + BE > TH)),
    "GatedAutoEncoder": (
        {"encoder.weight": E, "decoder.weight": DEC.T.contiguous(), "decoder_bias": BD, "r_mag": R, "gate_bias": GATE,
         "mag_bias": MAG},
        (READ + GATE > 0) * (R.exp() * READ + MAG).clamp_min(0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CODES)
def test_dictionary_learning(kind, tmp_path):
    tensors, codes = CODES[kind]
    sae = dc.load_dictionary_learning(learning(tmp_path / "a", kind, tensors))
    assert sae.site == SITE
    torch.testing.assert_close(sae.encode(X), codes, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(sae(X), codes @ DEC + BD, rtol=1e-6, atol=1e-6)
    if kind not in ("GatedAutoEncoder", "MatryoshkaBatchTopKSAE"):
        dc.save_dictionary_learning(sae, tmp_path / "b")
        again = dc.load_dictionary_learning(tmp_path / "b")
        assert torch.equal(again(X), sae(X))
        stored = torch.load(tmp_path / "b" / "ae.pt", weights_only=True)
        assert set(tensors) == set(stored)
        assert all(stored[k].shape == v.shape for k, v in tensors.items())


def test_dictionary_learning_refusals(tmp_path):
    tensors = CODES["AutoEncoder"][0]
    with pytest.raises(FormatError, match="AutoEncoderTopK"):
        dc.load_dictionary_learning(learning(tmp_path / "a", "AutoEncoderTopk", tensors))
    turned = tensors | {"encoder.weight": E.T.contiguous(), "decoder.weight": DEC}
    with pytest.raises(FormatError, match="transposed"):
        dc.load_dictionary_learning(learning(tmp_path / "a", "AutoEncoder", turned))
    with pytest.raises(FormatError, match="bias"):
        dc.load_dictionary_learning(learning(tmp_path / "a", "AutoEncoder", LINEAR))
    with pytest.raises(UnsafeContent):
        dc.load_dictionary_learning(learning(tmp_path / "a", "AutoEncoder", {"x": Anything}))


@pytest.mark.parametrize("across", ["", "transcode", "skip"])
def test_sparsify(across, tmp_path):
    folder = tmp_path / "layers.1.mlp"
    folder.mkdir()
    W_skip, dec, bias = draws(3)(D, D), draws(4)(F, D), draws(5)(D)
    tensors = {"encoder.weight": E, "encoder.bias": BE, "W_dec": dec, "b_dec": bias}
    tensors |= {"W_skip": W_skip} if across == "skip" else {}
    save_file(tensors, folder / "sae.safetensors")
    cfg = {"activation": "topk", "k": 3, "num_latents": F, "d_in": D, "expansion_factor": 2}
    cfg |= {"transcode": bool(across), "skip_connection": across == "skip"}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    sae = dc.load_sparsify(folder)
    inputs = X if across else X - bias
    want = topk(inputs @ E.T + BE, 3) @ dec + bias
    want = want + X @ W_skip.T if across == "skip" else want
    torch.testing.assert_close(sae(X), want, rtol=1e-10, atol=1e-10)
    if across:
        assert (sae.site, sae.writes) == ("layers.1.mlp:input", "layers.1.mlp")
    dc.save_sparsify(sae, tmp_path / "again")
    assert torch.equal(dc.load_sparsify(tmp_path / "again", site=sae.site)(X), sae(X))
    (folder / "cfg.json").write_text(json.dumps(cfg | {"activation": "groupmax"}))
    with pytest.raises(FormatError, match="groupmax"):
        dc.load_sparsify(folder)


def test_gemma_scope(tmp_path):
    arrays = {"W_enc": E.T, "W_dec": DEC, "b_enc": BE, "b_dec": BD, "threshold": TH}
    np.savez(tmp_path / "params.npz", **{k: v.numpy() for k, v in arrays.items()})
    sae = dc.load_gemma_scope(tmp_path, site=SITE)
    pre = X @ E.T + BE
    torch.testing.assert_close(sae(X), (pre * (pre > TH)) @ DEC + BD, rtol=1e-10, atol=1e-10)
    dc.save_gemma_scope(sae, tmp_path / "b.npz")
    assert torch.equal(dc.load_gemma_scope(tmp_path / "b.npz", site=SITE)(X), sae(X))
    gated = dc.load_dictionary_learning(learning(tmp_path / "g", "GatedAutoEncoder", CODES["GatedAutoEncoder"][0]))
    dc.save_gemma_scope(gated, tmp_path / "c.npz")
    torch.testing.assert_close(dc.load_gemma_scope(tmp_path / "c.npz", site=SITE)(X), gated(X), rtol=1e-9, atol=1e-9)
    across = dc.load_gemma_scope(tmp_path, site="blocks.1.mlp.norm", writes="blocks.1.mlp.out")
    assert across.writes == "blocks.1.mlp.out"
    np.savez(tmp_path / "params.npz", **{k: v.numpy() for k, v in arrays.items() if k != "threshold"})
    with pytest.raises(FormatError, match="threshold"):
        dc.load_gemma_scope(tmp_path, site=SITE)


def test_openai(tmp_path):
    state = {"pre_bias": BD, "latent_bias": BE, "encoder.weight": E, "decoder.weight": DEC.T.contiguous()}
    torch.save(state | {"activation": "TopK", "activation_state_dict": {"k": 3}}, tmp_path / "topk.pt")
    sae = dc.load_openai(tmp_path / "topk.pt", site=SITE)
    mean = X.mean(-1, keepdim=True)
    size = (X - mean).std(-1, keepdim=True)
    codes = topk(((X - mean) / (size + 1e-5) - BD) @ E.T + BE, 3)
    assert isinstance(sae, RowNormalised)
    torch.testing.assert_close(sae.encode(X), codes * size, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sae(X), (codes @ DEC + BD) * size + mean, rtol=1e-9, atol=1e-9)
    z = sae.encode(X)
    assert torch.equal(edit_through(sae, X, z), X)
    indices, values = sae.encode_sparse(X)
    torch.testing.assert_close(torch.zeros_like(z).scatter_add(1, indices, values), z)
    dc.save_openai(sae, tmp_path / "b.pt")
    assert torch.equal(dc.load_openai(tmp_path / "b.pt", site=SITE)(X), sae(X))
    sae.save(tmp_path / "own")
    assert torch.equal(load_basis(tmp_path / "own")(X), sae(X))
    torch.save(state | {"activation": "ReLU"}, tmp_path / "relu.pt")
    torch.testing.assert_close(dc.load_openai(tmp_path / "relu.pt", site=SITE)(X), PRE.clamp_min(0) @ DEC + BD)
    torch.save(state | {"activation": "Swish"}, tmp_path / "other.pt")
    with pytest.raises(FormatError, match="Swish"):
        dc.load_openai(tmp_path / "other.pt", site=SITE)


def test_circuit_tracer(tmp_path):
    layers, g = 3, draws(7)
    W_enc, b_enc, b_dec, threshold = g(layers, F, D), g(layers, F), g(layers, D), g(layers, F).abs()
    W_dec = [g(F, layers - i, D) for i in range(layers)]
    for i in range(layers):
        one = {f"W_enc_{i}": W_enc[i], f"b_enc_{i}": b_enc[i], f"b_dec_{i}": b_dec[i], f"threshold_{i}": threshold[i]}
        save_file({k: v.contiguous() for k, v in one.items()}, tmp_path / f"W_enc_{i}.safetensors")
        save_file({f"W_dec_{i}": W_dec[i]}, tmp_path / f"W_dec_{i}.safetensors")
    config = 'model_name: "toy/model"  # comment\nmodel_kind: cross_layer_transcoder\n'
    (tmp_path / "config.yaml").write_text(config + 'feature_input_hook: "mlp.hook_in"\nfeature_output_hook: hook_mlp_out\n')
    clt = dc.load_circuit_tracer(tmp_path)
    assert clt.reads[1] == "blocks.1.mlp.norm"
    assert clt.writes[2] == "blocks.2.mlp.out"
    x = g(4, layers, D)
    pre = torch.stack([x[:, l] @ W_enc[l].T + b_enc[l] for l in range(layers)], 1)
    f = pre * (pre > threshold)
    for m in range(layers):
        want = b_dec[m] + sum(f[:, l] @ W_dec[l][:, m - l] for l in range(m + 1))
        torch.testing.assert_close(clt(x.flatten(1)).view(4, layers, D)[:, m], want, rtol=1e-9, atol=1e-9)
    dc.save_circuit_tracer(clt, tmp_path / "again", model_name="toy")
    again = dc.load_circuit_tracer(tmp_path / "again")
    assert again.fingerprint == clt.fingerprint
    (tmp_path / "config.yaml").write_text(config.replace("cross_layer_transcoder", "transcoder_set"))
    with pytest.raises(FormatError, match="transcoder_set"):
        dc.load_circuit_tracer(tmp_path)


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    relu = dc.load_dictionary_learning(learning(tmp_path / "a", "AutoEncoder", CODES["AutoEncoder"][0]))
    top = dc.load_dictionary_learning(learning(tmp_path / "t", "AutoEncoderTopK", CODES["AutoEncoderTopK"][0]))
    with pytest.raises(UsageError, match="TopK"):
        dc.save_sparsify(relu, tmp_path / "x")
    with pytest.raises(UsageError, match="thresholds"):
        dc.save_gemma_scope(top, tmp_path / "x.npz")
    with pytest.raises(UsageError, match="OpenAI"):
        dc.save_openai(top, tmp_path / "x.pt")


@pytest.fixture(scope="module")
def fitted():
    made = plant(rows=3000, d=24, features=24, rate=0.06)
    return made, dc.relu_sae(made.recording, latents=24, l1=1.0, steps=300, batch=128, lr=0.02)


def test_a_dictionary_is_checked_on_load_and_the_refusal_names_the_slip(fitted, tmp_path):
    made, sae = fitted
    dc.save_dictionary_learning(sae, tmp_path / "ok", lm_name="toy")
    loaded = dc.load_dictionary_learning(tmp_path / "ok", recording=made.recording)
    assert loaded.metrics["fvu"] == pytest.approx(sae.metrics["fvu"], rel=0.1)
    with pytest.raises(SubjectMismatch, match="belongs to"):
        dc.load_dictionary_learning(tmp_path / "ok", recording=Recording.of(made.x, site="other"))
    with pytest.raises(SubjectMismatch, match="24 units"):
        dc.load_dictionary_learning(tmp_path / "ok", recording=Recording.of(made.x[:, :9], site="hidden"))
    square = dc.SparseDictionary("hidden", **sae.tensors() | {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec.T})
    dc.save_saelens(square, tmp_path / "square")
    with pytest.raises(SubjectMismatch, match="transposed"):
        dc.load_saelens(tmp_path / "square", recording=made.recording)
    size = 24**0.5 / float(made.x.norm(dim=1).mean())
    parts = {k: v * size if k[0] == "b" else v for k, v in sae.tensors().items()}
    dc.save_saelens(dc.SparseDictionary("hidden", **parts | {"b_enc": parts["b_enc"] - 0.05}), tmp_path / "scaled")
    with pytest.raises(SubjectMismatch, match="scaled to norm sqrt"):
        dc.load_saelens(tmp_path / "scaled", recording=Recording.of(0.01 * made.x + 5e-4, site="hidden"))


def test_first_tokens_that_do_not_fit_are_named(tmp_path):
    eye, x = torch.eye(4), torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    spike = eye[:, :1]  # a latent that only huge values of unit 0 open
    wild = dc.SparseDictionary(
        "hidden", W_enc=torch.cat([eye, 10 * spike], 1), b_enc=torch.tensor([0.0, 0, 0, 0, -200]),
        W_dec=torch.cat([eye, spike.T]), b_dec=torch.zeros(4), centred=False,
    )  # fmt: skip
    position = torch.arange(400) % 10
    x[position == 0, 0] = 40.0
    index = {"sample": (torch.arange(400) // 10).numpy(), "position": position.numpy()}
    spoiled = Recording.of(x, site="hidden", index=index)
    dc.save_saelens(wild, tmp_path, metadata={"prepend_bos": False})
    with pytest.raises(SubjectMismatch, match="without them"):
        dc.load_saelens(tmp_path, recording=spoiled)
    later = spoiled.select(spoiled.index["position"].to_numpy() > 0)
    assert dc.load_saelens(tmp_path, recording=later).metrics["fvu"] == pytest.approx(0.0, abs=1e-9)
