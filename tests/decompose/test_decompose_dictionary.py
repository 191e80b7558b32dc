"""SparseDictionary and its file formats."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from microtome.decompose import SparseDictionary, load_saelens, save_saelens, topk_sae
from microtome.errors import FormatError, ShapeError, SubjectMismatch, UsageError
from microtome.subject.basis import edit_through, load_basis
from microtome.subject.recording import Recording


def dictionary(activation="relu", d=5, latents=12, seed=0, centred=True, unit=False):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)  # noqa: E731
    W_dec = draw(latents, d)
    return SparseDictionary(
        "blocks.1.resid_post", W_enc=draw(d, latents), b_enc=draw(latents), b_dec=draw(d), activation=activation,
        W_dec=W_dec / W_dec.norm(dim=1, keepdim=True) if unit else W_dec, centred=centred,
        k=3 if activation == "topk" else None,
        threshold=draw(latents).abs() if activation in ("jumprelu", "batchtopk") else None,
    )  # fmt: skip


def slow(sae, x):
    """One row and one latent at a time."""
    out = torch.zeros(len(x), sae.dim, dtype=x.dtype)
    for b, row in enumerate(x):
        row = row - sae.b_dec if sae.centred else row
        pre = [float(row @ sae.W_enc[:, i] + sae.b_enc[i]) for i in range(sae.dim)]
        open_ = range(sae.dim)
        if sae.activation == "topk":
            open_ = sorted(open_, key=lambda i: -pre[i])[: sae.k]
        if sae.threshold is not None:
            open_ = [i for i in open_ if pre[i] > float(sae.threshold[i])]
        for i in open_:
            out[b, i] = max(pre[i], 0.0)
    return out


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["relu", "topk", "batchtopk", "jumprelu"]), st.booleans(), st.integers(0, 99))
def test_encode_equals_the_definition_and_the_sparse_form(activation, centred, seed):
    sae = dictionary(activation, seed=seed, centred=centred)
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    z = sae.encode(x)
    torch.testing.assert_close(z, slow(sae, x), rtol=1e-10, atol=1e-10)
    indices, values = sae.encode_sparse(x)
    torch.testing.assert_close(torch.zeros_like(z).scatter_add(1, indices, values), z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sae.decode_sparse(indices, values), sae.decode(z), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(sae(x), sae.decode(z), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(sae(x.reshape(2, 3, 5)), sae(x).reshape(2, 3, 5), rtol=1e-10, atol=1e-10)
    assert torch.equal(edit_through(sae, x, z), x)


@pytest.mark.parametrize("activation", ["relu", "jumprelu", "batchtopk"])
def test_unit_norm_is_the_same_function(activation):
    sae, x = dictionary(activation), torch.randn(9, 5, dtype=torch.float64)
    unit = sae.unit_norm()
    torch.testing.assert_close(unit(x), sae(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(unit.encode(x), sae.encode(x) * sae.W_dec.norm(dim=1), rtol=1e-10, atol=1e-10)
    with pytest.raises(UsageError, match="largest"):
        dictionary("topk").unit_norm()


@pytest.mark.parametrize("activation", ["relu", "topk", "batchtopk", "jumprelu"])
def test_save_and_load_are_exact(activation, tmp_path):
    sae, x = dictionary(activation, centred=False), torch.randn(9, 5, dtype=torch.float64)
    sae.save(tmp_path)
    back = load_basis(tmp_path)
    assert back.fingerprint == sae.fingerprint
    assert torch.equal(back.encode(x), sae.encode(x))


@pytest.mark.parametrize("activation", ["relu", "topk", "batchtopk", "jumprelu"])
@pytest.mark.parametrize("centred", [True, False])
def test_saelens_round_trip(activation, centred, tmp_path):
    sae, x = dictionary(activation, centred=centred), torch.randn(9, 5, dtype=torch.float64)
    save_saelens(sae, tmp_path, metadata={"hook_name": "blocks.1.hook_resid_post", "model_name": "toy"})
    back = load_saelens(tmp_path)
    assert back.site == "blocks.1.resid_post"
    assert torch.equal(back.encode(x), sae.encode(x))
    assert torch.equal(back(x), sae(x))


def write(folder, cfg, tensors):
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "sae_weights.safetensors")
    return folder


def test_a_file_from_before_version_6(tmp_path):
    sae = dictionary("topk")
    cfg = {"d_in": 5, "d_sae": 12, "hook_name": "blocks.1.hook_resid_post", "activation_fn_str": "topk",
           "activation_fn_kwargs": {"k": 3}, "apply_b_dec_to_input": True, "normalize_activations": "none"}  # fmt: skip
    back = load_saelens(write(tmp_path, cfg, sae.tensors()))
    x = torch.randn(9, 5, dtype=torch.float64)
    assert (back.activation, back.k) == ("topk", 3)
    assert torch.equal(back(x), sae(x))


def test_rescaling_by_decoder_norms_is_folded(tmp_path):
    sae, x = dictionary("topk"), torch.randn(9, 5, dtype=torch.float64)
    cfg = {"architecture": "topk", "d_in": 5, "d_sae": 12, "k": 3, "rescale_acts_by_decoder_norm": True}
    back = load_saelens(write(tmp_path, cfg, sae.tensors()), site="s")
    norms = sae.W_dec.norm(dim=1)
    pre = sae.preactivations(x) * norms
    chosen = pre.topk(3).indices
    acts = torch.zeros_like(pre).scatter(1, chosen, pre.gather(1, chosen).relu())
    torch.testing.assert_close(back(x), (acts / norms) @ sae.W_dec + sae.b_dec, rtol=1e-10, atol=1e-10)


GOOD = {"architecture": "standard", "d_in": 5, "d_sae": 12}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architecture": "gated"}, "b_mag"),
        ({"architecture": "jumprelus"}, "jumprelu"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations='layer_norm'"),
        ({"activation_fn_str": "tanh-relu"}, "tanh-relu"),
        ({"d_in": 12, "d_sae": 5}, "transposed"),
        ({"d_sae": None}, "W_enc"),
        ({"architecture": "topk"}, "1 <= k <= 12"),
        ({"architecture": "jumprelu"}, "threshold"),
    ],
)
def test_saelens_refusals(change, match, tmp_path):
    with pytest.raises(FormatError, match=match):
        load_saelens(write(tmp_path, GOOD | change, dictionary().tensors()))


def test_saelens_missing_and_transposed_tensors(tmp_path):
    tensors = dictionary().tensors()
    with pytest.raises(FormatError, match="b_enc"):
        load_saelens(write(tmp_path, GOOD, {k: v for k, v in tensors.items() if k != "b_enc"}))
    with pytest.raises(FormatError, match="transposed"):
        load_saelens(write(tmp_path, GOOD, tensors | {"W_dec": tensors["W_dec"].T}))
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(FormatError, match="object"):
        load_saelens(tmp_path)


def test_saelens_checks_itself_on_a_recording(planted, tmp_path):
    sae = topk_sae(planted.recording, latents=32, k=3, steps=150, batch=128)
    save_saelens(sae, tmp_path)
    back = load_saelens(tmp_path, recording=planted.recording)
    assert back.metrics["fvu"] == pytest.approx(sae.metrics["fvu"], rel=1e-6)
    assert set(load_file(tmp_path / "sae_weights.safetensors")) == {"W_enc", "b_enc", "W_dec", "b_dec"}
    wrong = Recording.of(0.1 * planted.x + 3.0, site="hidden")
    with pytest.raises(SubjectMismatch, match="layer, scaling"):
        load_saelens(tmp_path, recording=wrong)


def test_parts_that_do_not_fit():
    ok = dictionary().tensors()
    for change, match in [
        ({"W_dec": ok["W_dec"].T}, "transposed"), ({"b_enc": ok["b_dec"]}, "b_enc"), ({"W_enc": ok["b_enc"]}, "W_enc"),
        ({"activation": "jumprelu"}, "threshold"), ({"activation": "topk", "k": 13}, "k <= 12"),
        ({"activation": "rely"}, "Did you mean 'relu'"), ({"threshold": ok["b_enc"]}, "jumprelu"),
    ]:  # fmt: skip
        with pytest.raises((ShapeError, UsageError), match=match):
            SparseDictionary("s", **(ok | change))
    with pytest.raises(ShapeError, match="takes tensors"):
        dictionary().encode(torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="takes tensors"):
        dictionary().decode(torch.zeros(2, 5))
