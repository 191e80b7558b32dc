"""Mixers as matrices: parts and rest add up to what the module gives, for every kind; recurrences written as loops."""

import pytest
import torch
import torch.nn.functional as F
import transformers as hf

from microtome.attribute.mixers import closeness, layers, linearised, mixings, norms, rollout, shares
from microtome.attribute.mixers.gated_linear import decays, toeplitz
from microtome.attribute.mixers.rwkv import wkv
from microtome.errors import ShapeError, SiteError, UsageError
from microtome.organisms.small import decoder
from microtome.subject.subject import Subject

WIDTH, LENGTH = 16, 11


def made(make, seed: int = 0):
    """A module with every parameter drawn, biases and decays included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make().eval()
        with torch.no_grad():
            for name, p in module.named_parameters():
                if name.endswith("A_log"):
                    p.copy_(torch.rand(p.shape).log())
                else:
                    p.copy_(torch.randn(p.shape) * (0.5 if p.ndim < 2 else p.shape[-1] ** -0.5))
        return module, torch.randn(2, LENGTH, WIDTH)


def mamba_model(layers: int = 2, seed: int = 0, words: int = 9):
    config = hf.MambaConfig(vocab_size=words, hidden_size=WIDTH, num_hidden_layers=layers, state_size=4, conv_kernel=4,
                            intermediate_size=2 * WIDTH, time_step_rank=3, use_bias=True)  # fmt: skip
    return made(lambda: hf.MambaForCausalLM(config), seed)[0]


def recurrent_mixer(kind: str):
    if kind == "mamba":
        return mamba_model().backbone.layers[0].mixer, made(mamba_model)[1], {}
    if kind == "mamba2":
        config = hf.Mamba2Config(vocab_size=9, hidden_size=WIDTH, num_hidden_layers=1, state_size=4, expand=2, num_heads=4,
                                 head_dim=8, n_groups=2, chunk_size=4)  # fmt: skip
        module, x = made(lambda: hf.Mamba2ForCausalLM(config))
        return module.backbone.layers[0].mixer, x, {}
    if kind == "rwkv4":
        config = hf.RwkvConfig(vocab_size=9, hidden_size=WIDTH, num_hidden_layers=2)
        module, x = made(lambda: hf.RwkvModel(config))
        return module.blocks[0].attention, x, {}
    config = hf.RecurrentGemmaConfig(vocab_size=9, hidden_size=WIDTH, lru_width=WIDTH, num_attention_heads=2,
                                     num_hidden_layers=1, intermediate_size=32, block_types=["recurrent"])  # fmt: skip
    module, x = made(lambda: hf.RecurrentGemmaModel(config))
    where = torch.arange(LENGTH)[None].expand(2, -1)
    return module.layers[0].temporal_block, x, {"position_ids": where, "attention_mask": None, "use_cache": False}


@pytest.mark.parametrize("kind", ["mamba", "mamba2", "rwkv4", "rg_lru"])
def test_a_recurrent_mixer_is_exactly_its_matrix(kind):
    mixer, x, more = recurrent_mixer(kind)
    with torch.no_grad():
        expected = mixer(x, **more)
    expected = expected[0] if isinstance(expected, tuple) else expected
    found = linearised(mixer, x)
    torch.testing.assert_close(found.out, expected, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(found.parts().sum(2) + found.rest, found.out, atol=1e-5, rtol=1e-5)
    assert found.matrix.triu(1).abs().max() == 0
    rows = torch.tensor([3, 7])
    torch.testing.assert_close(found.parts(rows), found.parts()[torch.arange(2), rows])


def slow_mamba(mixer, x: torch.Tensor) -> torch.Tensor:
    """The recurrence as the paper writes it: one channel state after the other, no matrices over positions."""
    u, z = mixer.in_proj(x).chunk(2, dim=-1)
    taps, states = mixer.conv1d.weight[:, 0], mixer.A_log.shape[1]
    out = torch.zeros_like(x)
    for n in range(len(x)):
        h = torch.zeros(u.shape[-1], states, dtype=x.dtype)
        for i in range(x.shape[1]):
            c = mixer.conv1d.bias.clone()
            for k in range(taps.shape[1]):
                if i - k >= 0:
                    c = c + taps[:, -1 - k] * u[n, i - k]
            c = c * torch.sigmoid(c)
            low, left, right = mixer.x_proj(c).split([mixer.time_step_rank, states, states], dim=-1)
            dt = F.softplus(mixer.dt_proj(low))[:, None]
            h = torch.exp(-mixer.A_log.exp() * dt) * h + dt * left * c[:, None]
            out[n, i] = mixer.out_proj((h @ right + mixer.D * c) * F.silu(z[n, i]))
    return out


def test_mamba_agrees_with_the_slow_recurrence_in_float64():
    mixer = mamba_model().double().backbone.layers[1].mixer
    x = made(mamba_model)[1].double()
    with torch.no_grad():
        expected = slow_mamba(mixer, x)
    assert float((linearised(mixer, x).out - expected).abs().max()) < 1e-10


def test_wkv_is_the_slow_softmax_with_decay():
    g = torch.Generator().manual_seed(0)
    key, value = torch.randn(2, 1, 7, 3, generator=g, dtype=torch.float64)
    decay, first = torch.rand(3, generator=g).double(), torch.randn(3, generator=g).double()
    found = torch.einsum("ncij,njc->nic", wkv(key, decay, first), value)
    for c in range(3):
        for i in range(7):
            weights = [torch.exp(key[0, j, c] - (i - 1 - j) * decay[c]) for j in range(i)]
            weights.append(torch.exp(first[c] + key[0, i, c]))
            slow = sum(w * value[0, j, c] for j, w in enumerate(weights)) / sum(weights)
            assert float(found[0, i, c] - slow) == pytest.approx(0.0, abs=1e-12)


def test_decays_and_toeplitz_by_hand():
    a = torch.tensor([0.5, 0.25, 0.1], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0, 0], [0.25, 1, 0], [0.025, 0.1, 1]], dtype=torch.float64)
    torch.testing.assert_close(decays(a.log()[None, :, None])[0, 0], expected)
    tiny = decays(torch.full((1, 400, 1), -50.0))
    assert torch.isfinite(tiny).all()
    assert tiny[0, 0].diagonal().eq(1).all()
    kernel = torch.tensor([[3.0, 2.0, 1.0]])
    assert toeplitz(kernel, 4)[0].tolist() == [[1, 0, 0, 0], [2, 1, 0, 0], [3, 2, 1, 0], [0, 3, 2, 1]]


def test_splitting_the_activation_is_exact_only_where_it_is_linear():
    mixer, x, _ = recurrent_mixer("mamba")
    with torch.no_grad():
        gap = (linearised(mixer, x, split="activation").out - mixer(x)).abs().max()
    assert float(gap) > 1e-3
    mixer.act = torch.nn.Identity()
    exact = linearised(mixer, x)
    torch.testing.assert_close(linearised(mixer, x, split="activation").parts(), exact.parts(), atol=1e-5, rtol=1e-4)


def attention_subject(kind: str) -> tuple[Subject, torch.Tensor]:
    ids = torch.randint(9, (2, LENGTH), generator=torch.Generator().manual_seed(3))
    small = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    if kind == "llama":
        config = hf.LlamaConfig(vocab_size=9, num_key_value_heads=2, max_position_embeddings=32, pad_token_id=None, **small)
        return Subject(made(lambda: hf.LlamaForCausalLM(config))[0]), ids
    if kind == "gemma2":
        config = hf.Gemma2Config(vocab_size=9, num_key_value_heads=2, head_dim=4, pad_token_id=None, **small)
        return Subject(made(lambda: hf.Gemma2ForCausalLM(config))[0]), ids
    if kind == "bert":
        config = hf.BertConfig(vocab_size=9, max_position_embeddings=32, **small)
        return Subject(made(lambda: hf.BertForMaskedLM(config))[0]), ids
    if kind in ("vit", "dinov2"):
        made_of = {"vit": (hf.ViTConfig, hf.ViTForImageClassification), "dinov2": (hf.Dinov2Config,
                   hf.Dinov2ForImageClassification)}[kind]  # fmt: skip
        config = made_of[0](image_size=8, patch_size=4, num_channels=1, **small)
        return Subject(made(lambda: made_of[1](config))[0]), torch.randn(2, 1, 8, 8)
    return Subject(made(lambda: decoder(9, width=WIDTH, context=32, family=kind))[0]), ids


@pytest.mark.parametrize("kind", ["gpt2", "llama", "plain", "gemma2", "bert", "vit", "dinov2"])
def test_attention_is_exactly_its_pattern_values_and_rest(kind):
    subject, inputs = attention_subject(kind)
    for number, one in enumerate(mixings(subject, inputs)):
        out = subject.run(inputs, record=[f"blocks.{number}.attn.out"])[f"blocks.{number}.attn.out"]
        torch.testing.assert_close(one.out, out, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(one.parts().sum(2) + one.rest, out, atol=2e-5, rtol=1e-4)


def test_padding_is_left_out_of_mamba_exactly():
    module = mamba_model()
    subject = Subject(module)
    ids = torch.randint(9, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    for number, one in enumerate(mixings(subject, inputs)):
        out = subject.run(inputs, record=[f"blocks.{number}.mixer.out"])[f"blocks.{number}.mixer.out"]
        torch.testing.assert_close(one.out, out, atol=2e-5, rtol=1e-4)


def test_closeness_norms_shares_and_rollout_by_hand():
    parts = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]])
    total = parts.sum(1)
    assert closeness(parts, total).tolist() == [[0.0, 1.0, 0.0]]
    assert norms(parts, 1).tolist() == [[1.0, 2.0, 1.0]]
    assert shares(torch.tensor([[0.0, 0.0], [1.0, 3.0]])).tolist() == [[0.0, 0.0], [0.25, 0.75]]
    a, b = torch.rand(2, 1, 3, 3)
    torch.testing.assert_close(rollout([a, b]), b @ a)


def test_a_subject_without_known_mixers_is_refused():
    with pytest.raises(SiteError, match="no attention and no mixer"):
        layers(Subject(torch.nn.Sequential(torch.nn.Linear(2, 2))))
    with pytest.raises(UsageError, match="no mixer of a known kind"):
        linearised(torch.nn.Linear(2, 2), torch.ones(1, 2, 2))
    with pytest.raises(UsageError, match="has 2 mixers"):
        mixings(Subject(mamba_model()), torch.zeros(1, 4, dtype=torch.long), only=2)
    found = mixings(Subject(mamba_model()), torch.zeros(1, 4, dtype=torch.long), only=-1)[0]
    with pytest.raises(ShapeError, match="needs values"):
        type(found)(found.matrix, found.value[:, 1:], found.write, found.rest)


def test_mixers_without_a_table_are_found_and_hybrids_refused():
    common = {"vocab_size": 9, "hidden_size": WIDTH, "lru_width": WIDTH, "num_attention_heads": 2, "intermediate_size": 32}
    pure = hf.RwkvConfig(vocab_size=9, hidden_size=WIDTH, num_hidden_layers=2)
    subject = Subject(made(lambda: hf.RwkvForCausalLM(pure))[0])
    assert [one.kind for one in layers(subject)] == ["rwkv4", "rwkv4"]
    ids = torch.randint(9, (2, 6), generator=torch.Generator().manual_seed(1))
    path = layers(subject)[1].path
    out = subject.run(ids, record=[path])[path]
    torch.testing.assert_close(mixings(subject, ids)[1].out, out, atol=2e-5, rtol=1e-4)
    mixed = hf.RecurrentGemmaConfig(num_hidden_layers=2, block_types=["recurrent", "attention"], **common)
    with pytest.raises(SiteError, match="left out"):
        layers(Subject(made(lambda: hf.RecurrentGemmaForCausalLM(mixed))[0]))
