"""Algorithmic worlds: laws against slow oracles, determinism, 500 seeds without a degenerate draw, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import ShapeError, UsageError
from microtome.stimuli import algorithmic as world
from microtome.stimuli.algorithmic import bits, capitals, flipflop, hmm, indirect, sparse, tables

GENERATORS = {
    "flip_flop": lambda seed: world.flip_flop(6, seed, length=12),
    "parity": lambda seed: world.parity(64, seed, length=9),
    "emissions": lambda seed: world.emissions(6, seed, length=12),
    "modular": lambda seed: world.modular_addition(20, seed, p=7),
    "sparse": lambda seed: world.sparse_features(200, seed, features=8, density=0.1),
    "gaussian": lambda seed: world.gaussian(60, seed, width=6),
}
TASKS = {
    "indirect": lambda seed: world.indirect_object(16, seed),
    "recall": lambda seed: world.recall(16, seed),
    "repeats": lambda seed: world.repeats(16, seed),
}


@pytest.mark.parametrize("name", [*GENERATORS, *TASKS])
def test_same_seed_same_bytes_and_other_seed_other_bytes(name):
    make = {**GENERATORS, **TASKS}[name]
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert make(3).fingerprint() == make(3).fingerprint() != make(4).fingerprint()
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.parametrize("name", GENERATORS)
def test_500_seeds_are_not_degenerate(name):
    for seed in range(500):
        s = GENERATORS[name](seed)
        x = s.inputs.float()
        assert bool(torch.isfinite(x).all())
        assert float(x.std()) > 0
        assert len(torch.unique(x.flatten(1), dim=0)) > 1
        if "label" in s.table:
            assert s.table["label"].nunique() > 1, seed


@pytest.mark.parametrize("name", TASKS)
def test_500_seeds_of_the_tasks_have_distinct_answers(name):
    for seed in range(500):
        t = TASKS[name](seed)
        assert len(set(t.answers)) > 1
        assert all(a != b for a, b in zip(t.clean, t.corrupt))
        assert all(len(a.split()) == len(b.split()) for a, b in zip(t.clean, t.corrupt))


def test_modular_addition_is_all_pairs_once():
    s = world.modular_addition(p=11)
    assert {(int(a), int(b)) for a, b, _ in s.inputs} == {(a, b) for a in range(11) for b in range(11)}
    assert all((a + b - c) % 11 == 0 for a, b, c in zip(s.table["a"], s.table["b"], s.table["label"]))
    part = world.modular_addition(30, 2, p=11)
    assert len(torch.unique(part.inputs, dim=0)) == 30


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.integers(1, 4), rate=st.floats(0.05, 1.0))
def test_flip_flop_states_match_a_loop(seed, channels, rate):
    x = world.flip_flop(3, seed, length=11, bits=channels, rate=rate).inputs
    slow = torch.zeros_like(x)
    for n in range(3):
        held = [0.0] * channels
        for t in range(11):
            for b in range(channels):
                held[b] = float(x[n, t, b]) or held[b]
                slow[n, t, b] = held[b]
    assert torch.equal(flipflop.states(x), slow)
    assert bool((slow.abs() == 1).all())


def test_flip_flop_states_are_zero_before_the_first_pulse():
    x = torch.tensor([[[0.0], [0.0], [1.0], [0.0], [-1.0]]])
    assert flipflop.states(x)[0, :, 0].tolist() == [0, 0, 1, 1, -1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(1, 30))
def test_parity_matches_a_loop(seed, length):
    x = world.parity(3, seed, length=length).inputs
    assert bits.running(x).tolist() == [[sum(row[: t + 1]) % 2 for t in range(length)] for row in x[..., 0].int().tolist()]


def test_beliefs_match_enumeration_of_all_state_paths():
    """P(state | tokens) by summing over every path of hidden states."""
    from itertools import product

    model = world.mess3()
    tokens = world.emissions(4, 1, length=5).inputs.numpy()
    beliefs = model.beliefs(tokens)
    for n, row in enumerate(tokens):
        joint = np.zeros(3)
        for path in product(range(3), repeat=6):
            p = model.stationary[path[0]]
            for t, token in enumerate(row):
                p *= model.joint[token, path[t], path[t + 1]]
            joint[path[-1]] += p
        assert np.allclose(beliefs[n, -1], joint / joint.sum())
    assert np.allclose(model.predictive(tokens).sum(-1), 1)


def test_emissions_follow_the_model():
    model = hmm.mess3(0.1, 0.8)
    tokens = world.emissions(20000, 3, length=3, model=model).inputs.numpy()
    exact = np.einsum("i,aij,bjk,ckl->abc", model.stationary, model.joint, model.joint, model.joint)
    seen = np.zeros((3, 3, 3))
    np.add.at(seen, tuple(tokens.T), 1 / len(tokens))
    assert np.abs(seen - exact).max() < 5 * np.sqrt(exact.max() / len(tokens))


def test_emissions_of_an_uneven_chain_reach_their_stationary_states():
    joint = np.zeros((2, 2, 2))
    joint[0], joint[1] = np.diag([0.9, 0.0]), [[0.0, 0.1], [0.3, 0.7]]
    model = world.HiddenMarkov(joint)
    assert np.allclose(model.stationary, [0.75, 0.25])
    states = world.emissions(8000, 0, length=4, model=model).table["state"]
    assert abs((states == 0).mean() - 0.75) < 0.02


def test_sparse_features_have_the_stated_density_and_independence():
    s = world.sparse_features(40000, 1, features=6, density=0.2)
    active = torch.stack([s.masks[f"feature:{i}"] for i in range(6)], 1).float()
    assert float((active.mean(0) - 0.2).abs().max()) < 0.01
    assert float((active.T.corrcoef() - torch.eye(6)).abs().max()) < 0.02
    assert abs(float(s.inputs[s.inputs > 0].mean()) - 0.5) < 0.01


def test_mixing_is_linear_and_keeps_the_truth():
    s, d = world.sparse_features(50, 2, features=7), world.dictionary(7, 4, 2)
    m = world.mixed(s, d)
    assert torch.allclose(m.inputs, s.inputs @ d)
    assert torch.equal(m.masks["feature:3"], s.masks["feature:3"])
    with pytest.raises(ShapeError, match="7 features but 5 directions"):
        world.mixed(s, world.dictionary(5, 4))


def test_gaussian_separates_along_its_direction_only():
    s = world.gaussian(20000, 4, width=8, separation=3.0)
    y = torch.tensor(s.labels("label"))
    gap = s.inputs[y == 1].mean(0) - s.inputs[y == 0].mean(0)
    u = tables.direction(8, 4)
    assert abs(float(u.norm()) - 1) < 1e-6
    assert abs(float(gap @ u) - 3.0) < 0.1
    assert float((gap - (gap @ u) * u).norm()) < 0.15
    leading = torch.linalg.eigh(s.inputs.T.cov())[1][:, -1]
    assert abs(float(leading @ u)) < 0.3


def test_gaussian_null_says_nothing_about_the_label():
    s = world.gaussian(20000, 4, width=8, separation=0.0)
    y = torch.tensor(s.labels("label"))
    assert float((s.inputs[y == 1].mean(0) - s.inputs[y == 0].mean(0)).abs().max()) < 0.15


def test_indirect_object_roles_names_and_corruption():
    t = indirect.indirect_object_all()
    assert len(t) == len(set(t.clean)) == 16 * 15 * 8 * 2
    for i in range(0, len(t), 7):
        text, at = t.clean[i], {role: t.clean[i][slice(*spans[i])] for role, spans in t.roles.items()}
        assert at["io"] == t.answers[i]
        assert at["s1"] == at["s2"] == t.wrong[i]
        assert text.endswith(at["end"])
        words = text.split()
        assert words.count(t.answers[i]) == 1
        assert words.count(t.wrong[i]) == 2
        strangers = [w for w in t.corrupt[i].split() if w in indirect.NAMES]
        assert len(set(strangers)) == 3
        assert not set(strangers) & {t.answers[i], t.wrong[i]}
    drawn = world.indirect_object(200, 5)
    assert set(drawn.clean) <= set(t.clean)


def test_recall_is_right_and_complete():
    t = capitals.recall_all()
    assert len(t) == 12 * 11 * 4
    for i, text in enumerate(t.clean):
        subject = text[slice(*t.roles["subject"][i])]
        assert capitals.FACTS[subject] == t.answers[i]
        other = next(w for w in t.corrupt[i].split() if w in capitals.FACTS)
        assert capitals.FACTS[other] == t.wrong[i]
        assert text.replace(subject, other) == t.corrupt[i]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(4, 24))
def test_repeats_answer_is_what_followed(seed, length):
    t = world.repeats(3, seed, length=length)
    for i in range(3):
        for text, answer in ((t.clean[i], t.answers[i]), (t.corrupt[i], t.wrong[i])):
            *body, last = text.split()
            assert len(set(body)) == len(body) == length
            assert body[body.index(last) + 1] == answer
        assert t.clean[i][slice(*t.roles["source"][i])] == t.answers[i]


@pytest.mark.parametrize(
    "call",
    [
        lambda: world.modular_addition(p=1),
        lambda: world.modular_addition(26, p=5),
        lambda: world.flip_flop(1, rate=0.0),
        lambda: world.parity(0),
        lambda: world.emissions(0),
        lambda: world.mess3(0.6),
        lambda: world.sparse_features(5, density=0.0),
        lambda: world.gaussian(5, width=3, nuisance=3),
        lambda: world.indirect_object(0),
        lambda: world.recall(0),
        lambda: world.repeats(1, length=3),
    ],
)
def test_refusals_are_typed_and_say_what_was_found(call):
    with pytest.raises(UsageError, match=r"needs .* got"):
        call()


def test_dictionary_rows_are_unit_and_differ():
    d = sparse.dictionary(20, 6, 1)
    assert torch.allclose(d.norm(dim=1), torch.ones(20))
    assert float((d @ d.T - torch.eye(20)).abs().max()) < 0.999
