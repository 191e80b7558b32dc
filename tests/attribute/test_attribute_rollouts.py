"""Rollout, gradient attention, ALTI, implicit attention and LaTIM against loops over heads, tokens and channels."""

import pytest
import torch

from microtome.attribute import alti, attention_rollout, gradient_attention, implicit_attention, latim
from microtome.attribute.mixers import mixings
from microtome.errors import MicrotomeError, SiteError, UsageError
from microtome.organisms.small import decoder
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.planted_network import planted_network

WORDS, LENGTH = 9, 7
ALL = (attention_rollout, gradient_attention, alti, implicit_attention, latim)


def mamba(seed: int = 0) -> Subject:
    import transformers as hf

    config = hf.MambaConfig(vocab_size=WORDS, hidden_size=12, num_hidden_layers=2, state_size=3, conv_kernel=3,
                            intermediate_size=20, time_step_rank=2)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        module = hf.MambaForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in module.named_parameters():
            drawn = torch.randn(p.shape, generator=torch_rng(seed, name))
            p.copy_(drawn.abs().log() if name.endswith("A_log") else drawn * (0.5 if p.ndim < 2 else p.shape[-1] ** -0.5))
    return Subject(module)


def task(n: int = 3, seed: int = 0) -> Task:
    g = torch_rng(seed, "task")
    clean = torch.randint(WORDS, (n, LENGTH), generator=g)
    answers = torch.randint(WORDS, (n,), generator=g)
    return Task("t", clean, clean.flip(0), answers, (answers + 1) % WORDS, kind="tokens", groups=list(range(n)))


def test_attention_rollout_equals_a_loop_over_layers_and_heads():
    subject, given = Subject(decoder(WORDS, layers=3, width=16, heads=2, context=16, family="gpt2", seed=1)), task()
    found = attention_rollout(subject, given, stream=0.3)
    for n in range(len(given)):
        total = torch.eye(LENGTH)
        for block in range(3):
            site = f"blocks.{block}.attn.pattern"
            heads = subject.run(given.clean, record=[site])[site][n]
            total = (0.3 * torch.eye(LENGTH) + 0.7 * sum(heads) / len(heads)) @ total
        torch.testing.assert_close(found.values[n], total[-1])
    assert torch.allclose(found.values.sum(1), torch.ones(3))


def test_gradient_attention_equals_a_slow_reference():
    subject, given = Subject(decoder(WORDS, layers=2, width=16, heads=2, context=16, family="llama", seed=1)), task()
    found = gradient_attention(subject, given)
    sites, bound = [f"blocks.{b}.attn.pattern" for b in range(2)], subject.bind(given)
    values = subject.run(given.clean, record=sites)
    base = subject.run(given.clean, logits=bound.metric.positions)
    # Gradients at the pattern by central differences, one weight at a time, for one example.
    n, step = 1, 1e-2
    relevance = torch.eye(LENGTH)
    from microtome.subject.edit import patch

    for site in sites:
        weighed = torch.zeros(LENGTH, LENGTH)
        for h in range(2):
            for i in range(LENGTH):
                for j in range(i + 1):
                    outputs = []
                    for sign in (1, -1):
                        changed = values[site].clone()
                        changed[n, h, i, j] += sign * step
                        run = subject.run(given.clean, edits=[patch(site, changed)], logits=bound.metric.positions)
                        outputs.append(bound.metric(bound.metric.read(run.logits))[n])
                    slope = (outputs[0] - outputs[1]) / (2 * step)
                    weighed[i, j] += (slope * values[site][n, h, i, j]).clamp(min=0) / 2
        relevance = relevance + weighed @ relevance
    torch.testing.assert_close(found.values[n], (relevance - torch.eye(LENGTH))[-1], atol=2e-4, rtol=2e-2)
    torch.testing.assert_close(found.output, bound.metric(bound.metric.read(base.logits)))


@pytest.mark.parametrize("p", [1, 2])
def test_alti_equals_a_loop_over_pairs_of_tokens(p):
    subject, given = Subject(decoder(WORDS, layers=2, width=16, heads=2, context=16, family="gpt2", seed=1)), task(2)
    found, module = alti(subject, given, p=p), subject.module.transformer
    for n in range(2):
        total = torch.eye(LENGTH)
        for b in range(2):
            names = [f"blocks.{b}.{s}" for s in ("attn.pattern", "attn.norm", "resid_pre", "resid_mid")]
            seen = subject.run(given.clean, record=names)
            pattern, normed, pre, mid = (seen[s][n] for s in names)
            value = module.h[b].attn.c_attn.weight[:, 32:].detach()
            out = module.h[b].attn.c_proj.weight.detach()
            shares = torch.zeros(LENGTH, LENGTH)
            for i in range(LENGTH):
                for j in range(i + 1):
                    part = pre[i].clone() if i == j else torch.zeros(16)
                    for h in range(2):
                        unit = slice(8 * h, 8 * h + 8)
                        part += pattern[h, i, j] * (normed[j] @ value[:, unit]) @ out[unit]
                    shares[i, j] = (mid[i].norm(p=p) - (mid[i] - part).norm(p=p)).clamp(min=0)
            total = shares / shares.sum(1, keepdim=True) @ total
        torch.testing.assert_close(found.values[n], total[-1], atol=1e-5, rtol=1e-3)


def test_alti_holds_the_norm_behind_the_sum_exactly():
    import transformers as hf

    from microtome.attribute.mixers.layers import layers
    from microtome.attribute.mixers.residual import resid_sites, with_stream

    config = hf.BertConfig(vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        subject = Subject(hf.BertForMaskedLM(config))
    given = task(2)
    for one, mixed in zip(layers(subject), mixings(subject, given.clean)):
        values = subject.run(given.clean, record=resid_sites(subject, one)).values
        parts, total = with_stream(subject, one, mixed, values)
        rest = total - parts.sum(2)  # what belongs to no token: constant but for the scale of the norm
        bare = mixed.rest - mixed.rest.mean(-1, keepdim=True)
        norm = subject.module.bert.encoder.layer[0].attention.output.LayerNorm
        summed = mixed.out + values[f"blocks.{one.path.split('.')[1]}.resid_pre"]
        scale = (summed.var(-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
        torch.testing.assert_close(rest, bare * scale * norm.weight + norm.bias, atol=1e-5, rtol=1e-4)
    assert torch.allclose(alti(subject, given).values.sum(1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("part", ["mixer", "recurrence"])
def test_implicit_attention_of_mamba_equals_a_loop_over_channels(part):
    subject, given = mamba(), task(2)
    found = implicit_attention(subject, given, part=part)
    bound, entries = subject.bind(given), [f"backbone.layers.{b}.mixer:input" for b in range(2)]
    _, slopes = subject.gradients(bound.inputs, entries, bound.metric)
    for n in range(2):
        total = torch.eye(LENGTH)
        for entry, one in zip(entries, mixings(subject, given.clean)):
            matrices = (one if part == "mixer" else one.recurrence()).matrix[n]
            mean = sum(m.clamp(min=0) for m in matrices) / len(matrices)
            weights = torch.tensor([max(0.0, float(slopes[entry][n, j].max())) for j in range(LENGTH)])
            weights = (weights - weights.min()) / (weights.max() - weights.min())
            layer = torch.eye(LENGTH) + mean * weights
            total = layer / layer.sum(1, keepdim=True) @ total
        torch.testing.assert_close(found.values[n], total[-1], atol=1e-5, rtol=1e-3)


def test_the_recurrence_of_mamba_is_the_state_read_out_by_hand():
    subject, given = mamba(1), task(1)
    mixer = subject.module.backbone.layers[0].mixer
    hidden = subject.run(given.clean, record=["blocks.0.mixer.norm"])["blocks.0.mixer.norm"]
    inner = mixings(subject, given.clean)[0].recurrence().matrix
    with torch.no_grad():
        x = mixer.in_proj(hidden)[..., :20].transpose(1, 2)
        u = torch.nn.functional.silu(mixer.conv1d(x)[..., :LENGTH]).transpose(1, 2)
        low, left, right = mixer.x_proj(u)[0].split([2, 3, 3], dim=-1)
        dt = torch.nn.functional.softplus(mixer.dt_proj(low))
        for c in (0, 7, 19):
            for i in range(LENGTH):
                for j in range(i + 1):
                    decay = torch.exp(-mixer.A_log[c].exp() * dt[j + 1 : i + 1, c].sum())
                    slow = float((right[i] * decay * dt[j, c] * left[j]).sum() + (mixer.D[c] if i == j else 0.0))
                    assert float(inner[0, c, i, j]) == pytest.approx(slow, abs=1e-5)


def test_latim_splits_the_activation_tap_by_tap_exactly_as_a_loop_does():
    subject, given = mamba(2), task(1)
    mixer, read = subject.module.backbone.layers[1].mixer, LENGTH - 1
    hidden = subject.run(given.clean, record=["blocks.1.mixer.norm"])["blocks.1.mixer.norm"][0]
    inner = mixings(subject, given.clean)[1].recurrence().matrix[0]
    with torch.no_grad():
        x, z = mixer.in_proj(hidden).chunk(2, dim=-1)
        taps = mixer.conv1d.weight[:, 0]
        expected = []
        for j in range(LENGTH):
            v = torch.zeros(20)
            for k in range(j, min(LENGTH, j + 3)):
                v += inner[:, read, k] * torch.nn.functional.silu(taps[:, 2 - (k - j)] * x[j])
            expected.append(mixer.out_proj.weight @ (torch.nn.functional.silu(z[read]) * v))
    for score, p in (("l1", 1), ("l2", 2)):
        found = latim(subject, given, score=score, layer=1)
        torch.testing.assert_close(found.values[0], torch.stack(expected).norm(p=p, dim=1), atol=1e-5, rtol=1e-4)
    closer = latim(subject, given, score="alti", split="gate", layer=1)
    assert torch.allclose(closer.values.sum(1), torch.ones(1))


@pytest.mark.parametrize("seed", range(3))
def test_the_planted_token_is_recovered_by_all(seed):
    planted = planted_network(seed)
    for function in (attention_rollout, gradient_attention, alti, implicit_attention, latim):
        earlier = function(planted.subject, planted.task).values[:, :-1]
        assert (earlier.argmax(1) == planted.position).all(), function.__name__


def test_a_class_token_is_read_and_slices_agree(monkeypatch):
    import transformers as hf

    from microtome.attribute.mixers import reading

    config = hf.ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=8,
                          patch_size=4, num_channels=1, num_labels=3)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        subject = Subject(hf.ViTForImageClassification(config))
    x = torch.randn(4, 1, 8, 8, generator=torch_rng(0, "x"))
    given = Task("c", x, x.flip(0), torch.tensor([0, 1, 2, 0]), torch.tensor([1, 2, 0, 1]), kind="image", groups=[0, 1, 2, 3])
    whole = [f(subject, given) for f in (attention_rollout, gradient_attention, alti, implicit_attention)]
    site = "blocks.1.attn.pattern"
    pattern = subject.run(x, record=["blocks.0.attn.pattern", site])
    first, last = (0.5 * (p.mean(1) + torch.eye(5)) for p in (pattern["blocks.0.attn.pattern"], pattern[site]))
    torch.testing.assert_close(whole[0].values, (last @ first)[:, 0])
    monkeypatch.setattr(reading, "BUDGET", 1)
    for f, one in zip((attention_rollout, gradient_attention, alti, implicit_attention), whole):
        torch.testing.assert_close(f(subject, given).values, one.values, atol=1e-6, rtol=1e-4)


def test_wrong_calls_are_refused():
    planted, recurrent = planted_network(0), mamba()
    for function in (attention_rollout, gradient_attention):
        with pytest.raises(SiteError, match="implicit_attention"):
            function(recurrent, task())
    for call in (
        lambda: attention_rollout(planted.subject, planted.task, heads="median"),
        lambda: attention_rollout(planted.subject, planted.task, stream=1.0),
        lambda: alti(planted.subject, planted.task, p=3),
        lambda: implicit_attention(planted.subject, planted.task, part="scan"),
        lambda: latim(planted.subject, planted.task, score="linf"),
        lambda: latim(planted.subject, planted.task, split="silu"),
        lambda: latim(planted.subject, planted.task, layer=5),
    ):
        with pytest.raises(UsageError):
            call()
    plain = Subject(torch.nn.Sequential(torch.nn.Linear(3, 2)))
    x = torch.ones(2, 3)
    given = Task("p", x, x, torch.tensor([0, 1]), torch.tensor([1, 0]), kind="image", groups=[0, 1])
    for function in ALL:
        with pytest.raises(MicrotomeError, match="no attention"):
            function(plain, given)
