"""Probe, perturb, replace: the tree against the library that grew it, counterfactuals by search, refusals."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from microtome.attribute import Surrogate, highdim_surrogate
from microtome.attribute.surrogate_tree import grow
from microtome.errors import Degenerate, FormatError, ShapeError, UsageError
from microtome.rng import derive, rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject


def rows(n: int = 300, columns: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(seed))


def subject(columns: int = 12) -> Subject:
    """The class is 1 where x3 > 0 and x7 > 0 (softly); the other columns have no weight."""
    net = nn.Sequential(nn.Linear(columns, 2), nn.Sigmoid(), nn.Linear(2, 2))
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net[0].weight[0, 3] = net[0].weight[1, 7] = 10.0
        net[2].weight[1] = 10.0
        net[2].bias[1] = -15.0
    return Subject(net)


def task(x: torch.Tensor) -> Task:
    zero = torch.zeros(len(x), dtype=torch.long)
    return Task("rows", x, x, zero, zero + 1, kind="image", groups=list(range(len(x))))


@pytest.fixture(scope="module")
def found() -> Surrogate:
    return highdim_surrogate(subject(), task(rows()), features=4, depth=3, rows=100)


def test_the_tree_answers_as_the_library_that_grew_it():
    x, y = rows(200, 6).numpy(), np.random.default_rng(0).integers(0, 3, 200)
    columns = np.array([5, 1, 3])
    tree = grow(x, y, columns, depth=4, seed=3, classes=3)
    theirs = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=derive(3, "tree") % 2**31)
    theirs.fit(x[:, columns], y)
    new = rows(500, 6, seed=1).numpy()
    np.testing.assert_array_equal(tree.predict(new), theirs.predict(new[:, columns]))
    np.testing.assert_array_equal(tree.leaves(new), theirs.apply(new[:, columns]))
    for leaf, box in tree.boxes():
        inside = np.all([(low < x[:, c]) & (x[:, c] <= high) for c, (low, high) in box.items()], axis=0)
        np.testing.assert_array_equal(np.bincount(y[inside], minlength=3), tree.counts[leaf])
        np.testing.assert_allclose(x[inside][:, columns].mean(0), tree.centre[leaf], rtol=1e-5)


def test_it_finds_the_columns_that_matter_and_is_faithful(found):
    assert set(found.columns[:2].tolist()) == {3, 7}
    assert found.probe[[c for c in range(12) if c not in (3, 7)]].abs().max() == 0
    assert found.fidelity > 0.95 > found.majority
    new = rows(400, seed=5)
    assert float((found.predict(new) == subject().run(new).logits.argmax(1)).double().mean()) > 0.95
    rules = found.rules
    assert rules["support"].sum() == pytest.approx(1.0)
    first = found.path(new[0])
    assert rules.set_index("rule").loc[first, "answer"] == int(found.predict(new[:1])[0])
    assert "x3" in first or "x7" in first


def test_counterfactuals_change_the_answer_by_the_fewest_columns(found):
    x = rows(60, seed=7)
    new, changed = found.counterfactuals(x)
    assert bool((found.predict(new) != found.predict(x)).all())
    assert bool((subject().run(new).logits.argmax(1) != subject().run(x).logits.argmax(1)).double().mean() > 0.9)
    kept = torch.ones_like(x, dtype=torch.bool)
    for i, columns in enumerate(changed):
        kept[i, columns] = False
    assert torch.equal(new[kept], x[kept])
    loose, few = found.counterfactuals(x[:20], confidence=0.0)
    values = found.tree.centre[found.tree.column < 0]
    for i, columns in enumerate(few):  # no smaller set of columns with any values of the leaves' centres changes the answer
        for size in range(len(columns)):
            for chosen in combinations(range(len(found.columns)), size):
                tried = x[i : i + 1].repeat(len(values), 1)
                for c in chosen:
                    tried[:, int(found.tree.used[c])] = torch.as_tensor(values[:, c]).float()
                assert bool((found.predict(tried) == found.predict(x[i : i + 1])).all())
    assert bool((found.predict(loose) != found.predict(x[:20])).all())
    more, along = found.counterfactuals(x[:20], at_least=3)
    assert all(len(c) == 3 for c in along)
    assert bool((found.predict(more) != found.predict(x[:20])).all())
    assert more[0, along[0]].tolist() != x[0, along[0]].tolist()


def test_the_ranking_equals_a_slow_loop():
    x, network = rows(40, 5), Subject(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2)))
    with torch.no_grad():
        for p in network.module.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    net = network.module
    found = highdim_surrogate(network, task(x), features=5, depth=2, rows=30, seed=2)
    own = net(x).argmax(1)
    probe, loss = torch.zeros(5), torch.zeros(5)
    for i in range(40):
        leaf = x[i].clone().requires_grad_(True)
        probe += torch.autograd.grad(net(leaf).log_softmax(-1)[own[i]], leaf)[0].abs() / 40
    order = rng(2, "surrogate rows").permutation(40)[:30]
    shift = int(rng(2, "permutation").permutation(29)[0]) + 1
    for c in range(5):
        for k, i in enumerate(order):
            new = x[i].clone()
            new[c] = x[order[(k - shift) % 30], c]
            loss[c] += (net(x[i]).softmax(-1)[own[i]] - net(new).softmax(-1)[own[i]]).detach() / 30
    torch.testing.assert_close(found.probe.float(), probe * x.std(0))
    torch.testing.assert_close(found.sensitivity.float(), loss, atol=1e-6, rtol=1e-4)


def test_given_weights_lead_the_ranking_and_seeds_repeat():
    probe = torch.zeros(12)
    probe[5] = 1.0
    ranked = [highdim_surrogate(subject(), task(rows()), features=3, depth=2, rows=50, probe=probe, seed=1) for _ in range(2)]
    assert ranked[0].to_json() == ranked[1].to_json()
    assert 5 in ranked[0].columns.tolist()
    assert torch.equal(ranked[0].probe, probe.double())


def test_it_survives_json_and_refuses_others(found):
    again = Surrogate.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    x = rows(50, seed=9)
    assert torch.equal(again.predict(x), found.predict(x))
    stored = found.to_json()
    loop = {**stored, "tree": {**stored["tree"], "left": [0] * len(stored["tree"]["left"])}}
    for bad in ({}, loop, {**stored, "tree": {}}, {**stored, "fidelity": "x"}):
        with pytest.raises(FormatError):
            Surrogate.from_json(bad)
    with pytest.raises(ShapeError, match="rows must be"):
        found.predict(rows(3, 5))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [({"features": 0}, UsageError, "features"), ({"depth": 0}, UsageError, "depth"), ({"test": 1.0}, UsageError, "test"),
     ({"rows": 1}, UsageError, "rows"), ({"probe": torch.ones(2)}, ShapeError, "12 columns")],
)  # fmt: skip
def test_what_is_refused(settings, error, words):
    with pytest.raises(error, match=words):
        highdim_surrogate(subject(), task(rows()), **settings)


def test_one_answer_and_maps_are_refused():
    one = subject()
    with torch.no_grad():
        one.module[2].bias[1] = -99.0
    with pytest.raises(Degenerate, match="every row"):
        highdim_surrogate(one, task(rows()))
    net = Subject(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)))
    with pytest.raises(ShapeError, match="columns"):
        highdim_surrogate(net, task(torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))))
