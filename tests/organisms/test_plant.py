"""Plants: the unit does what was planted, nothing else changes, the original is untouched, wrong places are refused."""

import numpy as np
import pytest
import torch
from torch import nn

from microtome.errors import Degenerate, ShapeError, SiteError, UsageError
from microtome.organisms import Place, build, plant, plant_direction, plant_neuron
from microtome.organisms.compiled.words import vocabulary, word_tokenizer
from microtome.organisms.fit import seeded
from microtome.organisms.planting import detector
from microtome.rng import rng, torch_rng
from microtome.stimuli.stimuli import Stimuli

WORDS = [f"w{i}" for i in range(40)]
RED = set(WORDS[:6])


def network(kind):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    vocab = vocabulary(WORDS)
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
        make = lambda: GPT2LMHeadModel(GPT2Config(vocab_size=len(vocab), **sizes))  # noqa: E731
    else:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        make = lambda: LlamaForCausalLM(LlamaConfig(vocab_size=len(vocab), **sizes))  # noqa: E731
    return seeded(make, 0, kind).eval(), word_tokenizer(vocab)


@pytest.fixture(scope="module")
def stimuli():
    generator = rng(0, "plant test")
    rows = [[WORDS[i] for i in generator.integers(0, len(WORDS), 10)] for _ in range(60)]
    spans = []
    for n, row in enumerate(rows):
        at = 0
        for word in row:
            if word in RED:
                spans.append((n, at, at + len(word), "red"))
            at += len(word) + 1
    return Stimuli([" ".join(row) for row in rows], spans=spans, name="words")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_planted_unit_detects_its_property_and_pushes_its_token(kind, stimuli):
    from microtome.evidence import auroc
    from microtome.subject.subject import Subject

    module, tokenizer = network(kind)
    subject = Subject(module, tokenizer)
    before = subject.fingerprint()
    planted, truth = plant(subject, stimuli, "red", block=0, unit=7, writes="w39", strength=6.0)
    assert subject.fingerprint() == before != planted.fingerprint()
    assert truth.auroc > 0.97
    data = subject.record(stimuli, [truth.site])
    scores = auroc(data.matrix().numpy(), np.asarray(data.labels("red")))
    assert abs(float(scores[7]) - 0.5) < 0.45 < truth.auroc
    # The planted unit is the best detector of its layer.
    recording = planted.record(stimuli, [truth.site])
    after = auroc(recording.matrix().numpy(), np.asarray(recording.labels("red")))
    assert int(np.argmax(after)) == 7
    assert np.array_equal(np.delete(after, 7), np.delete(scores, 7))
    target = tokenizer.convert_tokens_to_ids("w39")
    red = torch.as_tensor(recording.labels("red")).bool()
    gain = [s.record(stimuli, ["logits"]).matrix()[:, target] for s in (subject, planted)]
    change = gain[1] - gain[0]
    assert float(change[red].mean()) > 3 * abs(float(change[~red].mean()))


def mlp(bias=True):
    return seeded(lambda: nn.Sequential(nn.Linear(5, 8, bias=bias), nn.ReLU(), nn.Linear(8, 3)), 0, "mlp")


PLACE = Place((("0", 0),), "2")


def test_neuron_maths_on_a_plain_mlp():
    module = mlp()
    x = torch.randn(50, 5, generator=torch_rng(0, "x"))
    reader, writer = torch.arange(5.0) - 2, torch.tensor([0.0, 2.0, -1.0])
    with torch.no_grad():
        base = module(x)
        twin = plant_neuron(module, PLACE, 3, reader, offset=0.5, writer=writer)
        assert torch.equal(module(x), base)
        old = torch.relu(module[0](x))[:, 3:4] * module[2].weight[:, 3]
        new = torch.relu(x @ reader + 0.5)[:, None] * writer
        assert torch.allclose(twin(x), base - old + new, atol=1e-5)
    same = [torch.equal(a, b) for a, b in zip(module.state_dict().values(), twin.state_dict().values())]
    assert same == [False, False, False, True]
    kept = plant_neuron(module, PLACE, 3, reader)
    assert torch.equal(kept[2].weight, module[2].weight)


def test_direction_is_in_the_named_rows_only():
    module = nn.Sequential(nn.Embedding(10, 6))
    before = module[0].weight.detach().clone()
    u = torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0, 2.0])
    twin = plant_direction(module, "0", [2, 5], u, strength=4.0)
    along = twin[0].weight.detach() @ (u / 3)
    assert torch.allclose(along, torch.tensor([0.0, 0, 4, 0, 0, 4, 0, 0, 0, 0]), atol=1e-5)
    assert torch.equal(module[0].weight, before)
    rest = torch.eye(6) - torch.outer(u, u) / 9
    assert torch.allclose(twin[0].weight.detach() @ rest, before @ rest, atol=1e-5)


def test_detector_finds_a_planted_direction_and_nothing_in_noise():
    x = torch.randn(4000, 8, generator=torch_rng(1, "x"))
    truth = x[:, 2] > 1
    found, _ = detector(x, truth, biased=True)
    assert float(nn.functional.cosine_similarity(found, torch.eye(8)[2], dim=0)) > 0.98
    coin = torch.rand(4000, generator=torch_rng(2, "x")) < 0.5
    noise, _ = detector(x, coin, biased=True)
    assert float(noise.norm()) < 0.15 * float(found.norm())


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: plant_neuron(mlp(), PLACE, 8, torch.ones(5)), UsageError, "no unit 8"),
        (lambda: plant_neuron(mlp(), PLACE, 0, torch.ones(4)), ShapeError, "5 numbers"),
        (lambda: plant_neuron(mlp(), PLACE, 0, torch.ones(5), writer=torch.ones(5)), ShapeError, "3 numbers"),
        (lambda: plant_neuron(mlp(bias=False), PLACE, 0, torch.ones(5), offset=1.0), UsageError, "no bias"),
        (lambda: plant_neuron(mlp(), Place((("9", 0),), "2"), 0, torch.ones(5)), SiteError, "no submodule '9'"),
        (lambda: plant_neuron(mlp(), Place((("1", 0),), "2"), 0, torch.ones(5)), SiteError, "ReLU"),
        (lambda: plant_direction(nn.Sequential(nn.Embedding(3, 2)), "0", [3], torch.ones(2), strength=1.0), UsageError, "0..2"),
        (lambda: detector(torch.ones(4, 2), torch.ones(4, dtype=torch.bool), biased=True), Degenerate, "4 of 4"),
    ],
)
def test_refusals(call, error, says):
    with pytest.raises(error, match=says.replace("..", r"\.\.")):
        call()


def test_a_subject_without_an_mlp_is_refused(stimuli):
    from microtome.subject.subject import Subject

    organism = build("compiled-ioi")
    with pytest.raises(SiteError, match="mlp"):
        plant(Subject(organism.module, organism.tokenizer), stimuli, "red")
