"""Audit cards: continuations against a loop without batching, near misses, random directions, what a card asks."""

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.decompose import steering_audit
from microtome.decompose.steering import Continued, continued, prompt_ids, windows
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.rng import torch_rng
from microtome.subject.basis import Linear
from microtome.testing.worlds.steering_audit import NAMES, SITE, WIDTH, themes


@torch.no_grad()
def test_continuations_equal_those_drawn_one_by_one():
    """steering_audit stacks vectors, copies and prompts on the batch; the oracle runs one at a time."""
    subject, _, basis, prompts = themes(3)
    vectors, n, copies, steps = torch.stack([torch.zeros(WIDTH), 0.7 * basis.directions[1]]), 2, 3, 4
    found = continued(subject, prompts[:n], SITE, vectors, [[0, 1], [5]], steps=steps, copies=copies, seed=2)
    uniform = torch.rand(steps, copies * n, 12, generator=torch_rng(2, "decompose", "continued")).clamp(1e-7, 1 - 1e-7)
    for v, vector in enumerate(vectors):
        for p in range(n):
            said, surprise, again = [], [], []
            for c in range(copies):
                ids = prompts[p : p + 1]
                for step in range(steps):
                    x = subject.module.embed(ids[:, -1:])
                    steered = subject.module.readout(x + vector)[0, 0].log_softmax(-1)
                    clean = subject.module.readout(x)[0, 0].log_softmax(-1)
                    token = int((steered - (-uniform[step, c * n + p].log()).log()).argmax())
                    said.append([float(steered[[0, 1]].exp().sum()), float(steered[5].exp())])
                    surprise.append(-float((steered.exp() * clean).sum()))
                    again.append(token == int(ids[0, -1]))
                    ids = torch.cat([ids, torch.tensor([[token]])], 1)
            assert np.allclose(found.said[v, p], np.mean(said, 0), atol=1e-5)
            assert found.surprise[v, p] == pytest.approx(np.mean(surprise), abs=1e-5)
            assert found.repeats[v, p] == pytest.approx(np.mean(again))


def test_blocks_of_vectors_give_the_same_as_one_batch(monkeypatch):
    subject, _, _, prompts = themes(0)
    vectors = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0))
    whole = continued(subject, prompts, SITE, vectors, [[0]])
    monkeypatch.setattr("microtome.decompose.steering.ROWS", 50)
    parts = continued(subject, prompts, SITE, vectors, [[0]])
    assert np.allclose(whole.said, parts.said, atol=1e-6)
    assert np.allclose(whole.surprise, parts.surprise, atol=1e-5)


def test_a_window_needs_both_presence_and_fluency():
    plain = Continued(np.full((1, 3, 1), 0.1), np.full((1, 3), 2.0), np.zeros((1, 3)))
    said = np.array([[[0.4], [0.4], [0.2]]])
    found = Continued(said, np.array([[2.5, 3.5, 2.0]]), np.zeros((1, 3)))
    assert windows(found, plain, rise=0.2, budget=1.0).tolist() == [[True, False, False]]
    stuck = Continued(said, np.full((1, 3), 2.0), np.ones((1, 3)))
    assert not windows(stuck, plain, rise=0.2, budget=1.0).any()


def card(latent=0, basis=None, names=NAMES, seed=0, **settings):
    subject, recording, own, prompts = themes(seed)
    given = {"latent": latent, "prompts": prompts, "words": names, "strengths": (0.5, 1.0)} | settings
    return steering_audit(subject, recording, basis or own, **given)


def test_the_planted_latent_passes_and_a_sum_of_two_is_flagged_where_it_fires():
    found = card()
    assert found.verdict == "supported"
    assert found.table["passed"].all()
    assert found.controls["passed"] == 1.0
    assert found.controls["random"] < 0.3 < found.estimate.value
    d = themes(0)[2].directions
    both = torch.stack([d[0] + d[1], d[2]])
    merged = card(basis=Linear(SITE, both.T, both)).table.set_index("claim")
    assert not merged.loc["quiet on 'graves': how often it fires there", "passed"]
    assert merged.loc["quiet on 'graves': how often it fires there", "low"] > 0.3
    assert not merged.loc["tells 'tea' from 'graves' (AUROC)", "passed"]


def test_the_wrong_name_fails_the_card():
    found = card(names={"graves": NAMES["graves"], "tea": NAMES["tea"]}, latent=0, basis=None)
    assert found.verdict == "not supported"
    assert found.controls["passed"] == 0.0
    said = found.table.set_index("claim").loc["does not say 'tea': probability gained"]
    assert said["value"] > 0.2
    assert not said["passed"]


def test_negatives_without_words_are_read_but_not_said():
    subject, recording, basis, prompts = themes(0)
    other = recording.add_labels({"neutral": ~(recording.labels("tea") | recording.labels("graves"))})
    found = steering_audit(subject, other, basis, latent=0, prompts=prompts, words={"tea": [0, 1, 2, 3]}, strengths=(1.0,))
    assert found.table["claim"].str.contains("neutral").sum() == 2
    assert not found.table["claim"].str.contains("does not say").any()


def test_a_latent_that_is_silent_on_the_concept_is_refused():
    with pytest.raises(Degenerate, match="never fires"):
        card(basis=Linear(SITE, -themes(0)[2].directions.T))


def test_prompts_have_one_length_and_are_tokens():
    subject = themes(0)[0]
    with pytest.raises(UsageError, match="token ids"):
        prompt_ids(subject, torch.randn(2, 3))
    mask = torch.tensor([[1, 1], [1, 0]])
    with pytest.raises(ShapeError, match="one length"):
        prompt_ids(subject, {"input_ids": torch.ones(2, 2, dtype=torch.long), "attention_mask": mask})


def test_predictions_that_are_nan_are_refused():
    subject, _, _, prompts = themes(0)
    with torch.no_grad():
        subject.module.readout.weight[0, 0] = float("nan")
    with pytest.raises(NonFinite):
        continued(subject, prompts, SITE, torch.zeros(1, WIDTH), [[0]])


def test_it_runs_on_a_language_model():
    subject = mt.load("organism:language")
    site = "blocks.2.resid_post"
    recording = subject.record(subject.organism.examples(12), [site])
    tokens = recording.index["token"].astype(str)
    has = (tokens == tokens.mode()[0]).to_numpy()
    recording = recording.add_labels({"common": has})
    x = recording.matrix()
    direction = x[has].mean(0) - x[~has].mean(0)
    basis = Linear(site, direction[:, None] / direction.square().sum(), direction[None], offset=x[~has].mean(0))
    ids = torch.randint(5, 50, (4, 5), generator=torch.Generator().manual_seed(0))
    found = steering_audit(subject, recording, basis, latent=0, prompts=ids, words={"common": [7]}, strengths=(0.5,), draws=2)
    assert found.table["value"][0] > 0.95
    assert np.isfinite(found.table[["value", "low", "high"]].to_numpy()).all()
