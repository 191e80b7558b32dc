"""Onions and subspaces: interventions by loops as oracles, planted onions and planted subspaces, peeling, refusals."""

import numpy as np
import pytest
import torch

from microtome.decompose import onion_representations
from microtome.decompose.onion import Bigrams, Onion, Unigrams, draw, having, linear_read, peel, tables, targets
from microtome.errors import Degenerate, ShapeError
from microtome.subject.recording import Recording
from microtome.testing.worlds.onion_representations import LENGTH, WORDS, planted_onion


def sequences(n=60, length=3, words=4, width=9, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=g), torch.randint(0, words, (n, length), generator=g), g


def test_changes_equal_loops():
    """onion_representations fits these; each is checked against its formula, one sequence at a time."""
    x, tokens, g = sequences()
    base, source, place = draw(tokens, 20, g)
    onion, positions, pairs = (kind(tokens, 9, g) for kind in (Onion, Unigrams, Bigrams))
    with torch.no_grad():
        for p in (*onion.parameters(), positions.turn, pairs.turn):
            p.add_(0.3 * torch.randn(p.shape, generator=g))
        found = [c(x, tokens, base, source, place) for c in (onion, positions, pairs)]
        turned = [c.start @ torch.matrix_exp(c.turn - c.turn.T) for c in (positions, pairs)]
        for i, (b, s, j) in enumerate(zip(base.tolist(), source.tolist(), place.tolist(), strict=True)):
            new = tokens[s, j]
            scale = onion.size * onion.ratio.abs() ** j + onion.more[j]
            assert torch.allclose(found[0][i], x[b] + scale * (onion.embed[new] - onion.embed[tokens[b, j]]))
            own = turned[0][:, 3 * j : 3 * j + 3]
            slow = x[b] - own @ (own.T @ x[b]) + own @ (own.T @ x[s])
            assert torch.allclose(found[1][i], slow, atol=1e-5)
            slow = x[b].clone()
            for v, pair in ((j - 1, (tokens[b, j - 1], new)), (j, (new, tokens[b, min(j + 1, 2)]))):
                rows = [(s + k) % len(x) for k in range(len(x))] if 0 <= v < 2 else []
                match = [r for r in rows if (tokens[r, v], tokens[r, v + 1]) == pair][:1]
                own = turned[1][:, pairs.owner == v]
                for r in match:
                    slow = slow + own @ (own.T @ (x[r] - x[b]))
            assert torch.allclose(found[2][i], slow, atol=1e-5)


def test_targets_differ_at_the_place_only():
    _, tokens, g = sequences()
    base, source, place = draw(tokens, 30, g)
    goal = targets(tokens, base, source, place)
    rows = torch.arange(30)
    assert (goal[rows, place] == tokens[source, place]).all()
    assert ((goal != tokens[base]).sum(1) <= 1).all()


def test_rows_with_a_pair_are_found_or_declared_missing():
    tokens = torch.tensor([[0, 1], [1, 1], [0, 0], [0, 1]])
    at, one = torch.zeros(3, dtype=torch.long), torch.tensor([1, 1, 0])
    assert having(tokens, at, torch.tensor([0, 1, 1]), one, torch.tensor([1, 2, 0])).tolist() == [3, 1, -1]


def test_a_planted_onion_is_recovered_and_peeled():
    recording, tokens, decode = planted_onion(0)
    found = onion_representations(recording, tokens, decode, steps=150, batch=64, draws=39)
    assert found.verdict == "supported"
    assert found.estimate.value > 0.9 > 0.3 > found.controls["unigram"]
    assert found.controls["clean"] == 1.0
    assert found.table["magnitude"].is_monotonic_decreasing
    x, read = recording.matrix(), torch.from_numpy(tokens)
    assert (peel(x, *tables(x, read)) == read).double().mean() > 0.99


def side_by_side(seed=0, width=5):
    """Tokens in subspaces of their own, in a rotated frame, and a decoder that reads each of them."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, WORDS, (400, LENGTH), generator=g)
    embed = torch.randn(LENGTH, WORDS, width, generator=g)
    turn = torch.linalg.qr(torch.randn(LENGTH * width, LENGTH * width, generator=g)).Q
    x = torch.cat([embed[j][tokens[:, j]] for j in range(LENGTH)], 1) @ turn

    def decode(states, given):
        parts = (states @ turn.T).unflatten(1, (LENGTH, width))
        return -3 * (parts[:, :, None] - embed).square().sum(-1)

    return Recording.of(x, site="state"), tokens, decode


def test_planted_subspaces_are_recovered_and_not_called_an_onion():
    """The onion's scales are vectors, so that few tokens side by side fit it, too; it must not be preferred then."""
    recording, tokens, decode = side_by_side()
    found = onion_representations(recording, tokens.numpy(), decode, steps=250, batch=64, draws=39)
    assert found.controls["unigram"] > 0.9
    assert found.estimate.value <= found.controls["unigram"]
    assert found.verdict == "not supported"
    x = recording.matrix()
    assert (linear_read(x[:200], tokens[:200], x[200:]) == tokens[200:]).double().mean() > 0.99


def test_tables_are_exact_for_a_sum_of_embeddings():
    _, tokens, g = sequences(n=400, width=5)
    embed = torch.randn(3, 4, 5, generator=g).double()
    h = 1.5 + sum(embed[j][tokens[:, j]] for j in range(3))
    mean, found = tables(h, tokens)
    assert torch.allclose(mean + sum(found[j][tokens[:, j]] for j in range(3)), h, atol=1e-9)
    for j in range(3):
        assert torch.allclose(found[j] - found[j][0], embed[j] - embed[j][0], atol=1e-9)
    assert torch.allclose(torch.nn.functional.one_hot(tokens[:, 0], 4).double() @ found[0], found[0][tokens[:, 0]])


def test_the_network_is_left_without_gradients():
    recording, tokens, _ = planted_onion(0)
    torch.manual_seed(0)
    net = torch.nn.Linear(8, LENGTH * WORDS)
    found = onion_representations(
        recording, tokens, lambda h, t: net(h).unflatten(1, (LENGTH, WORDS)), steps=5, batch=16, draws=3
    )
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert found.verdict == "not supported"


def test_sequences_must_fit_and_be_enough():
    recording, tokens, decode = planted_onion(0)
    with pytest.raises(Degenerate, match="40 sequences"):
        onion_representations(recording.select(np.arange(30)), tokens[:30], decode)
    with pytest.raises(ShapeError, match="whole numbers"):
        onion_representations(recording, tokens.astype(float), decode)
    with pytest.raises(ShapeError, match="vocab"):
        onion_representations(recording, tokens, lambda h, t: decode(h, t)[..., :2])
