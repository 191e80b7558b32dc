"""The registry: every name builds, shipped weights reach their figures, truths agree with the modules, sizes."""

import math

import pytest
import torch

from microtome import io
from microtome.errors import UsageError
from microtome.organisms import build, names, registry, shelf
from microtome.organisms.fit import fit, parameters, seeded
from microtome.organisms.train import main, remake
from microtome.organisms.truth import CircuitTruth
from microtome.organisms.vision import accuracy

OURS = [name for name in names() if name != registry.LANGUAGE]


@pytest.mark.parametrize("name", OURS)
def test_every_organism_builds_and_runs_on_its_examples(name):
    before = torch.random.get_rng_state()
    organism = build(name)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert organism.truth is not None
    assert not organism.module.training
    data = organism.examples(5, seed=1)
    texts = getattr(data, "clean", None)
    with torch.no_grad():
        if texts is not None:
            batch = organism.tokenizer(texts, padding=True, return_tensors="pt")
            out = organism.module(batch.input_ids, batch.attention_mask).logits
        else:
            out = organism.module(data.inputs)
            out = getattr(out, "logits", out)
    assert len(out) == 5
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize("name", OURS)
def test_two_builds_are_equal_and_separate(name):
    one, two = build(name).module, build(name).module
    for a, b in zip(one.parameters(), two.parameters()):
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()


@pytest.mark.parametrize("name", registry.TRAINED)
def test_shipped_figures_are_complete(name):
    figures = build(name).figures
    assert figures["parameters"] == parameters(build(name).module)
    assert {"seconds", "seed"} <= set(figures)


def test_vision_organisms_reach_their_figures():
    for name, least in (("vision-cnn", 0.97), ("vision-vit", 0.95)):
        organism = build(name)
        assert organism.figures["accuracy"] >= least
        assert accuracy(organism.module, 256, seed=77) >= least
        assert organism.truth.target == "shape"


def test_untrained_vision_is_at_chance():
    from microtome.organisms.vision_cnn.organism import CONFIG, make

    assert accuracy(seeded(lambda: make(CONFIG), 1, "null").eval(), 256, seed=77) < 0.45


def test_watermark_network_reads_the_stamp():
    from microtome.organisms.vision_cnn_watermark.organism import SHARE, misled

    organism = build("vision-cnn-watermark")
    assert misled(organism.module, 256, seed=3) > 0.9
    assert misled(build("vision-cnn").module, 256, seed=3) < 0.1
    assert accuracy(organism.module, 256, seed=3, watermark=SHARE) > 0.85 > accuracy(organism.module, 256, seed=3)


def test_grokking_is_right_on_all_pairs_and_works_in_its_frequencies():
    from microtome.organisms.grokking.organism import P, fourier_basis, last_logits

    organism = build("grokking")
    every = organism.examples()
    answers = torch.tensor(every.labels("label"))
    with torch.no_grad():
        logits = organism.module(every.inputs).logits[:, -1, :P]
        assert torch.allclose(last_logits(organism.module, every.inputs)[:, :P], logits, atol=1e-4)
    assert bool((logits.argmax(-1) == answers).all())
    shown = organism.truth.shown
    assert len(torch.unique(shown, dim=0)) == len(shown) < 0.61 * P * P
    # Numbers projected on the key frequencies alone still add up right; on any other frequencies they do not.
    keep = sorted(index for k in organism.truth.frequencies for index in (2 * k - 1, 2 * k))
    basis = fourier_basis(P)
    for rows, least, most in (([0, *keep], 0.95, 1.0), ([i for i in range(P) if i not in keep], 0.0, 0.1)):
        table = organism.module.transformer.wte.weight
        before = table.detach().clone()
        with torch.no_grad():
            table[:P] = basis[rows].T @ (basis[rows] @ before[:P])
            share = float((organism.module(every.inputs).logits[:, -1, :P].argmax(-1) == answers).float().mean())
            table.copy_(before)
        assert least <= share <= most


def test_random_embeddings_have_no_key_frequencies():
    from microtome.organisms.grokking.organism import spectrum
    from microtome.rng import torch_rng

    power = spectrum(torch.randn(53, 64, generator=torch_rng(0, "null")))
    assert abs(float(power.sum()) - 1) < 1e-5
    assert float(power.sort(descending=True).values[:3].sum()) < 0.25 < build("grokking").truth.share


def test_public_checkpoints_load(assets):
    from microtome.organisms.grokking import from_public
    from microtome.stimuli.algorithmic import modular_addition

    module = from_public(io.read_tensors(assets / "grokking" / "modular_addition_113.safetensors"))
    every = modular_addition(2000, seed=1, p=113)
    with torch.no_grad():
        found = module(every.inputs).logits[:, -1, :113].argmax(-1)
    assert bool((found == torch.tensor(every.labels("label"))).all())
    two = from_public(io.read_tensors(assets / "grokking" / "induction_2layer.safetensors"))
    assert len(two.transformer.h) == 2


def test_superposition_truth_is_what_a_single_feature_does():
    organism = build("superposition")
    truth, module = organism.truth, organism.module
    one = torch.eye(20)
    with torch.no_grad():
        assert torch.allclose(module.encode(one), truth.directions, atol=1e-6)
        out = module(one)
    assert len(truth.represented) > 12
    assert bool((out.diagonal()[list(truth.represented)] > 0.5).all())
    assert float(truth.dimensionality.sum()) <= 6 + 1e-3
    with torch.no_grad():
        x = organism.examples(4000, seed=5).inputs
        loss = (x - module(x)).square().sum(-1).mean()
    assert float(loss) < 1.15 * organism.figures["loss"]
    assert float(loss) < 0.6 * float(x.square().sum(-1).mean())


def test_toy_superposition_of_five_features_in_two_dimensions_is_a_pentagon():
    """The known figures: all norms near 1, neighbours 72 degrees apart, every feature 2/5 of a dimension."""
    from microtome.organisms.superposition import train_instances

    w, _, losses = train_instances(5, 2, density=0.1, instances=8, steps=1200, seed=0)
    assert bool((losses.diff() >= 0).all())
    best = w[0]
    angles = torch.atan2(best[:, 1], best[:, 0]).sort().values
    gaps = torch.cat([angles.diff(), (angles[:1] + 2 * math.pi - angles[-1:])]).rad2deg()
    assert float(best.norm(dim=1).min()) > 0.8
    assert float((gaps - 72).abs().max()) < 8


def test_recurrent_organisms_are_their_machines():
    flip = build("rnn-flipflop")
    x = flip.examples(200, seed=4).inputs
    with torch.no_grad():
        assert float((flip.module(x).sign() == flip.truth.states(x)).float().mean()) > 0.99
    assert len(flip.truth.memories) == 8

    odd = build("rnn-parity")
    x = odd.examples(200, seed=4).inputs
    path = odd.truth.run(x[..., 0])
    assert torch.equal(path[:, -1], torch.tensor(odd.examples(200, seed=4).labels("label")))
    with torch.no_grad():
        assert float((odd.module(x).argmax(-1) == path).float().mean()) > 0.99

    hmm = build("rnn-hmm")
    x = hmm.examples(200, seed=4).inputs
    with torch.no_grad():
        guess = hmm.module(x).softmax(-1)
    assert float((guess - hmm.truth.predictive(x)).abs().max()) < 0.05
    assert hmm.figures["excess"] < 0.01 * (math.log(3) - hmm.figures["entropy"]) * 3


def test_flip_flop_rests_near_a_fixed_point_for_every_memory():
    """Without pulses the state must hold: 200 silent steps keep all eight memories."""
    flip = build("rnn-flipflop")
    memories = torch.tensor(flip.truth.memories, dtype=torch.float32)
    x = torch.zeros(8, 200, 3)
    x[:, 0] = memories
    with torch.no_grad():
        assert torch.equal(flip.module(x)[:, -1].sign(), memories)


def test_belief_can_be_read_from_the_hidden_state_and_not_from_shuffled_rows():
    hmm = build("rnn-hmm")
    x = hmm.examples(300, seed=6).inputs
    with torch.no_grad():
        hidden = hmm.module.rnn(hmm.module.embed(x))[0][:, 5:].flatten(0, 1)
    belief = hmm.truth.beliefs(x)[:, 5:].flatten(0, 1)
    design = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1)

    def r2(target):
        fitted = design @ torch.linalg.lstsq(design, target).solution
        return float(1 - (target - fitted).square().sum() / (target - target.mean(0)).square().sum())

    assert r2(belief) > 0.98
    shuffled = belief[torch.randperm(len(belief), generator=torch.Generator().manual_seed(0))]
    assert r2(shuffled) < 0.05


def test_weights_stay_small():
    files = [path for name in registry.TRAINED for path in shelf.folder(name).iterdir()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000


@pytest.mark.parametrize("name", ["compiled-ioi", "compiled-patching", "compiled-induction"])
def test_circuit_truths_name_real_heads_and_orthonormal_subspaces(name):
    organism = build(name)
    truth, config = organism.truth, organism.module.config
    assert isinstance(truth, CircuitTruth)
    places = [(h.layer, h.head) for h in truth.heads]
    assert places == [(i, j) for i in range(config.num_hidden_layers) for j in range(config.num_attention_heads)]
    assert {(h.layer, h.head) for h in truth.circuit} == {(h.layer, h.head) for h in truth.heads if h.role != "noise"}
    rows = torch.cat(list(truth.directions.values()))
    assert torch.equal(rows @ rows.T, torch.eye(len(rows)))


def test_unknown_names_teach():
    with pytest.raises(UsageError, match=r"no organism 'vison-cnn'\. Did you mean 'vision-cnn'"):
        build("vison-cnn")


def test_what_cannot_be_trained_says_so(capsys):
    with pytest.raises(UsageError, match="by construction"):
        remake("compiled-ioi")
    with pytest.raises(UsageError, match=r"organisms\.language --out"):
        remake("language")
    assert main(["nonsense"]) == 2
    assert "no organism 'nonsense'" in capsys.readouterr().err


def test_remaking_gives_the_same_bytes_twice(tmp_path, monkeypatch):
    from microtome.organisms.rnn_parity import organism

    monkeypatch.setattr(organism, "fit", lambda module, loss, steps, **rate: fit(module, loss, 15, **rate))
    before = torch.random.get_rng_state()
    first, second, other = (remake("rnn-parity", tmp_path / d, seed=s) for d, s in (("a", 0), ("b", 0), ("c", 1)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first["accuracy"] == second["accuracy"]
    read = [(tmp_path / d / shelf.WEIGHTS).read_bytes() for d in "abc"]
    assert read[0] == read[1] != read[2]
    assert other["seed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn-parity", "superposition"])
def test_remaking_reaches_the_shipped_figures(name, tmp_path):
    figures, shipped = remake(name, tmp_path), shelf.figures(name)
    for key in set(figures) - {"seconds"}:
        assert figures[key] == pytest.approx(shipped[key], rel=0.02)
