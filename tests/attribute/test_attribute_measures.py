"""Measures of attributions against slow loops and the peers' values: curves, imputers, robustness, localisation, complexity."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import peer_models
import pytest
import torch
from attribute_models import behind, model
from scipy.stats import spearmanr

from microtome.attribute import (
    ConditionalGaussian,
    NoisyLinear,
    entropy,
    gini,
    grad_cam,
    gradient,
    infidelity,
    integrated_gradients,
    local_lipschitz,
    max_sensitivity,
    mprt,
    mprt_independent,
    occlusion,
    perturbation_curves,
    pointing_game,
    random_logit,
    relevance_mass,
    relevance_rank,
)
from microtome.attribute.attribution import Attribution
from microtome.attribute.imputers import smooth
from microtome.attribute.judge.randomisation import other_class, spearman_rows
from microtome.errors import Degenerate, ShapeError, SiteError, SubjectMismatch, UsageError
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

PEERS = np.load(Path(__file__).parent / "references" / "judge.npz")


def slow_curves(f, x, scores, shares, start):
    """One example, one share at a time; scores [n, places], places in the last axes of x."""
    found = np.zeros((2, len(shares), len(x)))
    for i in range(len(x)):
        order = sorted(range(scores.shape[1]), key=lambda p: -float(scores[i, p]))
        for side, way in enumerate((order, order[::-1])):
            for k, share in enumerate(shares):
                changed = x.clone()
                for p in way[: round(share * len(order))]:
                    changed.view(len(x), -1, len(order))[i, :, p] = start
                found[side, k, i] = float(f(changed)[i])
    return found


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_curves_equal_the_slow_loop_and_their_formulas(kind):
    subject, task = model(kind, 2)
    x, f = behind(kind, subject, task)
    shares = (0, 0.25, 0.5, 0.75, 1)
    found = integrated_gradients(subject, task)
    curves = perturbation_curves(subject, task, found, shares=shares, baseline=0.3)
    scores = found.values.sum(1).flatten(1) if kind == "cnn" else found.values
    with torch.no_grad():
        most, least = slow_curves(f, x, scores, shares, 0.3)
    np.testing.assert_allclose(curves.most.numpy(), most, atol=1e-12)
    np.testing.assert_allclose(curves.least.numpy(), least, atol=1e-12)
    np.testing.assert_allclose(curves.deletion, (most[1:] + most[:-1]).mean(0) / 2, atol=1e-12)
    np.testing.assert_allclose(curves.insertion, (least[1:] + least[:-1]).mean(0) / 2, atol=1e-12)
    np.testing.assert_allclose(curves.comprehensiveness, most[0] - most[1:4].mean(0), atol=1e-12)
    np.testing.assert_allclose(curves.sufficiency, least[0] - least[1:4].mean(0), atol=1e-12)
    np.testing.assert_allclose(curves.gap, least[1:4].mean(0) - most[1:4].mean(0), atol=1e-12)
    # At the ends the order does not matter.
    torch.testing.assert_close(curves.most[[0, -1]], curves.least[[0, -1]])


def test_pixel_flipping_infidelity_and_sensitivity_are_those_of_quantus_and_captum():
    subject, x = Subject(peer_models.grey_cnn()), peer_models.images()[:, :1]
    answers = peer_models.TARGETS
    task = Task("peers", x, x.flip(0), answers, (answers + 1) % 5, kind="image")
    given = replace(gradient(subject, task), values=torch.tensor(PEERS["maps"]))
    shares = [k / 12 for k in range(1, 13)]
    black = x.amin(dim=(1, 2, 3), keepdim=True)  # quantus takes each picture's darkest value
    curves = perturbation_curves(subject, task, given, shares=shares, baseline=black, metric="probability")
    np.testing.assert_allclose(curves.most[1:].T.numpy(), PEERS["pixel_flipping"], atol=1e-5)

    # A difference of logits whose second class is always 0 is captum's single logit.
    net = torch.nn.Sequential(*peer_models.grey_cnn(), torch.nn.ZeroPad1d((0, 1)).double())
    single = Task("one logit", x, x.flip(0), answers, torch.full((4,), 5), kind="image")
    subject = Subject(net)
    given = replace(gradient(subject, single), values=torch.tensor(PEERS["maps"]))
    changes = torch.tensor(PEERS["changes"])
    for name, scaled in (("infidelity", False), ("infidelity_scaled", True)):
        found = infidelity(subject, single, given, noise=changes, scaled=scaled)
        np.testing.assert_allclose(found.numpy(), PEERS[name], rtol=1e-9)
    found = max_sensitivity(subject, single, gradient, radius=0.1 * changes)
    np.testing.assert_allclose(found.numpy(), PEERS["sensitivity_max"], rtol=1e-9)
    lipschitz = local_lipschitz(subject, single, gradient, radius=0.1 * changes)
    slow = [max(float((_slope(net, x + 0.1 * c, answers)[i] - _slope(net, x, answers)[i]).norm() / (0.1 * c[i]).norm())
                for c in changes) for i in range(4)]  # fmt: skip
    np.testing.assert_allclose(lipschitz.numpy(), slow, rtol=1e-9)


def _slope(net, x, answers):
    leaf = x.clone().requires_grad_(True)
    return torch.autograd.grad(net(leaf)[torch.arange(len(leaf)), answers].sum(), leaf)[0]


def test_localisation_and_complexity_are_those_of_quantus():
    maps, mask = torch.tensor(PEERS["maps"])[:, 0], torch.tensor(PEERS["mask"])[:, 0]
    np.testing.assert_allclose(relevance_mass(maps.abs(), mask), PEERS["RelevanceMassAccuracy"], atol=1e-6)
    np.testing.assert_allclose(relevance_rank(maps.abs(), mask), PEERS["RelevanceRankAccuracy"], atol=1e-6)
    np.testing.assert_array_equal(pointing_game(maps.abs(), mask).numpy(), PEERS["PointingGame"])
    np.testing.assert_allclose(gini(maps), PEERS["Sparseness"], atol=1e-6)
    np.testing.assert_allclose(entropy(maps), PEERS["Complexity"], atol=1e-5)


def test_ties_count_by_expectation():
    even, mask = torch.ones(1, 8), torch.arange(8)[None] < 3
    for measure in (relevance_mass, relevance_rank, pointing_game):
        assert float(measure(even, mask)) == pytest.approx(3 / 8)
    some = torch.tensor([[2.0, 1, 1, 1, 0, 0, 0, 0]])
    assert float(relevance_rank(some, mask)) == pytest.approx((1 + 2 * 2 / 3) / 3)
    assert float(pointing_game(torch.tensor([[2.0, 2, 0, 0, 2, 0, 0, 0]]), mask)) == pytest.approx(2 / 3)


def test_equal_scores_go_at_random_and_padding_stays():
    """With equal attributions the two orders agree on average, and a batch with padding keeps what is not there."""
    net = torch.nn.Sequential(torch.nn.Linear(40, 2, bias=False)).double()
    x = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    task = Task("even", x, -x, torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long), kind="image")
    subject = Subject(net)
    even = replace(gradient(subject, task), values=torch.zeros(2, 40, dtype=torch.float64))
    gaps = torch.stack([perturbation_curves(subject, task, even, seed=s).gap for s in range(60)])
    assert float(gaps.mean(0).abs().max() / gaps.std()) < 0.4
    assert gaps.std() > 0


def test_noisy_linear_solves_the_neighbour_equations():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, 6, 6, generator=g, dtype=torch.float64)
    hole = (torch.rand(4, 1, 6, 6, generator=g) < 0.5).double()
    found = smooth(x, hole, torch.zeros_like(x), 1e-12)
    for k in range(4):
        for r, c in hole[k, 0].nonzero().tolist():
            near = [(a, b) for a in range(r - 1, r + 2) for b in range(c - 1, c + 2)
                    if (a, b) != (r, c) and 0 <= a < 6 and 0 <= b < 6]  # fmt: skip
            weight = torch.tensor([1 / 6 if a == r or b == c else 1 / 12 for a, b in near], dtype=torch.float64)
            mean = (weight * torch.stack([found[k, 0, a, b] for a, b in near])).sum() / weight.sum()
            assert float((found[k, 0, r, c] - mean).abs()) < 1e-9
    kept = hole == 0
    torch.testing.assert_close(found[kept], x.repeat(2, 1, 1, 1)[kept])
    whole = smooth(x, torch.ones_like(x), torch.full_like(x, 0.5), 1e-9)  # nothing left to go by
    torch.testing.assert_close(whole, torch.full_like(x, 0.5))


def test_imputers_serve_curves_with_masks_of_their_own():
    subject, task = model("mlp", 1)
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = gradient(subject, task, times="input")
    gaussian = ConditionalGaussian.of(rows)
    curves = perturbation_curves(subject, task, found, shares=(0.5,), baseline=gaussian)
    x, f = behind("mlp", subject, task)
    for i in range(4):
        gone = found.values[i].argsort(descending=True)[:3]
        known = torch.tensor([p not in gone for p in range(6)])
        cov = gaussian.covariance
        filled = x[i].clone()
        filled[~known] = (
            gaussian.mean[~known]
            + cov[~known][:, known] @ torch.linalg.inv(cov[known][:, known]) @ (x[i] - gaussian.mean)[known]
        )
        with torch.no_grad():
            want = f(filled.expand(4, -1))[i]
        assert float(curves.most[1, i]) == pytest.approx(float(want), abs=1e-4)
    subject, task = model("cnn", 2)
    road = perturbation_curves(subject, task, gradient(subject, task), baseline=NoisyLinear(noise=0.0))
    assert torch.isfinite(road.gap).all()


def test_maps_of_layers_are_judged_at_the_input():
    subject, task = model("cnn", 2)
    cam = grad_cam(subject, task, at="1")
    here = perturbation_curves(subject, task, cam, at="0:input", baseline=0.0)
    assert here.most.shape == (11, 4)
    with pytest.raises(SiteError, match="name a site"):
        perturbation_curves(subject, task, cam, at="6")
    with pytest.raises(SiteError, match="cell by cell"):
        infidelity(subject, task, occlusion(subject, task))


@pytest.mark.parametrize("seed", range(3))
def test_spearman_rows_with_ties_equal_scipy(seed):
    a, b = torch.randint(5, (2, 3, 20), generator=torch.Generator().manual_seed(seed)).double()
    want = [spearmanr(x, y).statistic for x, y in zip(a, b)]
    np.testing.assert_allclose(spearman_rows(a, b), want, atol=1e-12)
    assert spearman_rows(a, torch.ones_like(a)).tolist() == [0.0] * 3


def test_randomisation_by_cascade_and_alone():
    subject, task = model("mlp", 1)
    found, alone = mprt(subject, task, gradient), mprt_independent(subject, task, gradient)
    assert found.parts == alone.parts == ("4", "2", "0")
    # The first stage of both randomises the head only; what follows differs.
    torch.testing.assert_close(found.similarity[0], alone.similarity[0])
    assert not torch.allclose(found.similarity[1:], alone.similarity[1:])
    twin = subject.twin(seed=0, keep=["0.*", "2.*"])
    want = [spearmanr(a, b).statistic for a, b in zip(gradient(subject, task).values, gradient(twin, task).values)]
    np.testing.assert_allclose(found.similarity[0], want, atol=1e-12)
    assert list(found.table.columns) == ["part", "mean", "low", "high"]
    for kind in ("reinit", "weight_shuffle"):  # in the end all is random; alone, the last part only
        both = [f(subject, task, gradient, kind=kind, seed=3).last for f in (mprt, mprt_independent)]
        twins = [subject.twin(kind, seed=3), subject.twin(kind, seed=3, keep=["2.*", "4.*"])]
        for last, twin in zip(both, twins):
            torch.testing.assert_close(last, spearman_rows(gradient(subject, task).values, gradient(twin, task).values))
    assert subject.fingerprint() == model("mlp", 1)[0].fingerprint()

    def deaf(subject, task) -> Attribution:
        """A map of the input alone."""
        return replace(gradient(subject, task), values=task.clean)

    assert float(mprt(subject, task, deaf).last.min()) == 1.0
    assert float(random_logit(subject, task, deaf).min()) == 1.0
    other = other_class(subject, task, 0)
    assert not bool(((other.answers == task.answers) | (other.answers == other.wrong)).any())
    want = [spearmanr(a, b).statistic for a, b in zip(gradient(subject, task).values, gradient(subject, other).values)]
    np.testing.assert_allclose(random_logit(subject, task, gradient), want, atol=1e-12)


def test_refusals_of_measures():
    subject, task = model("mlp", 1)
    found = gradient(subject, task)
    with pytest.raises(SubjectMismatch, match="another task"):
        perturbation_curves(subject, task[:2], found)
    with pytest.raises(SubjectMismatch, match="another subject"):
        infidelity(subject.twin(), task, found)
    with pytest.raises(UsageError, match="ascending"):
        perturbation_curves(subject, task, found, shares=(0.5, 0.2))
    with pytest.raises(UsageError, match="area"):
        assert perturbation_curves(subject, task, found, shares=(0,)).deletion
    with pytest.raises(ShapeError, match="do not fit"):
        infidelity(subject, task, found, noise=torch.ones(3, 4, 5))
    with pytest.raises(UsageError, match="noise"):
        infidelity(subject, task, found, noise=0.0)
    with pytest.raises(UsageError, match="radius"):
        max_sensitivity(subject, task, gradient, radius=-1.0)
    with pytest.raises(UsageError, match="cannot be moved"):
        max_sensitivity(subject, replace(task, clean=torch.ones(4, 6).byte()), gradient)
    with pytest.raises(Degenerate, match="zero everywhere"):
        max_sensitivity(subject, task, lambda s, t: replace(gradient(s, t), values=torch.zeros(len(t), 6)))
    with pytest.raises(Degenerate, match="empty"):
        relevance_mass(torch.ones(1, 4), torch.zeros(1, 4))
    with pytest.raises(ShapeError, match="same places"):
        pointing_game(torch.ones(1, 4), torch.zeros(1, 5))
    with pytest.raises(UsageError, match="images"):
        perturbation_curves(subject, task, found, baseline=NoisyLinear())


def test_robust_measures_are_zero_for_a_linear_network():
    net = torch.nn.Sequential(torch.nn.Linear(5, 3)).double()
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    task = Task("linear", x, -x, torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]), kind="image")
    subject = Subject(net)
    assert float(local_lipschitz(subject, task, gradient).max()) == 0.0
    times_input = partial(gradient, times="input")
    assert float(infidelity(subject, task, gradient(subject, task)).max()) < 1e-20
    assert float(max_sensitivity(subject, task, times_input).min()) > 0
