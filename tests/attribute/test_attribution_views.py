"""An attribution is raw, audited and complete: null, interval, views that change nothing, and files that keep all of it."""

from functools import partial

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.attribute import (
    Attribution,
    grad_cam,
    gradient,
    heatmap,
    highlight,
    integrated_gradients,
    kernel_shap,
    lrp,
    merge,
    occlusion,
    over_examples,
    overlay,
    shapley_sampling,
    with_interval,
    with_null,
)
from microtome.attribute.controls import corrected
from microtome.errors import ShapeError, UsageError
from microtome.stimuli.task import Task
from microtome.stimuli.vision.scenes import pictures
from microtome.testing.planted_network import planted_network


@pytest.fixture(scope="module")
def ioi():
    subject = mt.load("organism:compiled-ioi")
    return subject, subject.organism.examples(8, 1)


@pytest.fixture(scope="module")
def shapes():
    x, y = pictures(6, seed=0)
    return mt.load("organism:vision-cnn"), Task("shape", x, x.flip(0), y, (y + 1) % 4, kind="image", groups=list(range(6)))


@pytest.fixture(scope="module")
def whole(ioi):
    """Every field filled."""
    subject, task = ioi
    found = with_null(subject, task, partial(integrated_gradients, steps=4, baseline="mean"), twins=3)
    drawn = with_interval(subject, task, partial(shapley_sampling, samples=2), repeats=3)
    assert drawn.low.shape == drawn.high.shape == drawn.values.shape
    return Attribution(
        **{**vars(found), "low": found.values - 1, "high": found.values + 1, "terms": {"edits": torch.arange(len(found))}}
    )


def test_every_field_survives_files_slices_and_merges(whole, tmp_path):
    whole.save(tmp_path / "a.safetensors")
    back = Attribution.load(tmp_path / "a.safetensors")
    again = merge([back[:3], back[3:]])
    for one in (back, again):
        for name in ("values", "output", "reference", "low", "high", "null", "p", "residual"):
            assert torch.equal(getattr(one, name), getattr(whole, name)), name
        assert torch.equal(one.terms["edits"], whole.terms["edits"])
        assert (one.tokens, one.settings, one.evaluations) == (whole.tokens, whole.settings, whole.evaluations)
    assert whole.null.shape == (3, *whole.by_position().shape)
    with pytest.raises(ShapeError, match="rows of null"):
        Attribution(**{**vars(whole), "null": whole.null[:, :2]})


def test_p_equals_a_loop_over_draws_and_places():
    g = torch.Generator().manual_seed(0)
    place, null = torch.randn(3, 5, generator=g, dtype=torch.float64), torch.randn(9, 3, 5, generator=g, dtype=torch.float64)
    found = corrected(place, null)
    for i in range(3):
        every = np.abs(np.stack([place[i].numpy(), *null[:, i].numpy()]))
        share = every / every.sum(1, keepdims=True)
        t = share - share.mean(0)
        for j in range(5):
            assert float(found[i, j]) == pytest.approx((1 + sum(t[m].max() >= t[0, j] for m in range(1, 10))) / 10)


def test_p_is_at_its_rate_where_the_map_is_one_of_the_draws_and_small_where_it_was_learned():
    """Maps of a network that is exchangeable with the randomised ones, places of very different size: p <= 0.1 in a tenth."""
    g = torch.Generator().manual_seed(5)
    maps = torch.randn(10, 1500, 6, generator=g, dtype=torch.float64) ** 3 * torch.tensor([10.0, 5.0, 1.0, 1.0, 0.3, 0.1])
    rate = float((corrected(maps[0], maps[1:]).amin(1) <= 0.1).double().mean())
    assert 0.07 <= rate <= 0.13, rate
    planted = planted_network(0)
    learned = with_null(planted.subject, planted.task, partial(occlusion, baseline="mean"), twins=19)
    assert float((learned.p[:, planted.position] <= 0.05).double().mean()) >= 0.9


@pytest.mark.slow
def test_p_is_at_its_rate_on_networks_that_are_untrained_themselves():
    """A tenth of the examples has a place with p <= 0.1, whatever network; examples of a network hang together."""
    planted = planted_network(0)
    shares = []
    for k in range(80):
        untrained = planted.subject.twin("reinit", seed=10_000 + k)
        found = with_null(untrained, planted.task, partial(occlusion, baseline="mean"), twins=19, seed=20 * k)
        shares.append(float((found.p.flatten(1).amin(1) <= 0.1).double().mean()))
    error = float(np.std(shares) / np.sqrt(len(shares)))
    assert abs(float(np.mean(shares)) - 0.1) <= 3 * error, (float(np.mean(shares)), error)


def test_intervals_of_sampled_methods_cover_the_exact_value():
    """Shapley values of six players, from all coalitions, lie in most Student intervals of 95% of sampled ones."""
    g = torch.Generator().manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    x = torch.randn(12, 6, generator=g, dtype=torch.float64)
    zero = torch.zeros(12, dtype=torch.long)
    subject, task = mt.Subject(net), Task("first", x, -x, zero, zero + 1, kind="image")
    exact = kernel_shap(subject, task, samples=62).values  # all coalitions
    found = with_interval(subject, task, partial(shapley_sampling, samples=4), repeats=8)
    inside = (found.low <= exact) & (exact <= found.high)
    assert 0.85 <= float(inside.double().mean()) <= 1.0
    assert float((found.high - found.low).mean()) > 0
    with pytest.raises(UsageError, match="over_examples"):
        with_interval(subject, task, gradient)
    with pytest.raises(UsageError, match="repeats"):
        with_interval(subject, task, shapley_sampling, repeats=1)


def test_over_examples_averages_places_and_resamples_groups(ioi):
    planted = planted_network(1)
    found = with_null(planted.subject, planted.task, partial(gradient, times="input"), twins=3)
    table = over_examples(found, planted.task.groups)
    np.testing.assert_allclose(table["mean"], found.by_position().double().mean(0))
    assert ((table.low <= table["mean"]) & (table["mean"] <= table.high)).all()
    assert {"null_low", "null_high", "position"} <= set(table)
    paired = over_examples(found, [i // 2 for i in range(12)])
    assert (paired.n == 6).all()
    subject, task = ioi
    ragged = gradient(subject, task)
    if bool((ragged.mask != ragged.mask[:1]).any()):
        with pytest.raises(ShapeError, match="different lengths"):
            over_examples(ragged)
    with pytest.raises(ShapeError, match="group"):
        over_examples(found, [0] * 12)


def test_named_axes_residual_and_evaluations_on_real_subjects(ioi, shapes):
    subject, task = ioi
    ig = integrated_gradients(subject, task, steps=4, baseline="mean")
    assert ig.axes == ("batch", "position", "unit")
    assert ig.evaluations == 2 * 4 + 2
    torch.testing.assert_close(ig.residual, ig.values.double().flatten(1).sum(1) - (ig.output - ig.reference).double())
    cnn, pics = shapes
    relevance = lrp(cnn, pics, composite="epsilon")
    assert relevance.axes == ("batch", "channel", "y", "x")
    lost = torch.stack([v.double() for v in relevance.lost.values()]).sum(0)
    torch.testing.assert_close(-lost, relevance.residual, rtol=1e-3, atol=1e-3)
    assert bool((relevance.values < 0).any()), "signs are kept"


def test_views_never_change_the_values(ioi, shapes):
    subject, task = ioi
    text = gradient(subject, task, times="input")
    cnn, pics = shapes
    cam, fine = grad_cam(cnn, pics), gradient(cnn, pics)
    for found in (text, cam, fine):
        before = found.values.clone()
        assert torch.equal(found.abs().values, found.values.abs())
        assert found.abs().residual is None
        assert float(found.normalised().values.abs().amax()) == 1.0
        found.by_position(), found.table, repr(found), found._repr_html_()
        assert torch.equal(found.values, before)
    assert heatmap(cam, (32, 32)).shape == (6, 32, 32)
    shown = overlay(cam, pics.clean, 1)
    assert (shown.shape, shown.dtype) == ((32, 32, 3), np.uint8)
    assert not np.array_equal(shown, overlay(cam, pics.clean, 1, alpha=0.0))
    grey = overlay(cam, pics.clean, 1, alpha=0.0)
    assert (np.ptp(grey, axis=2) == 0).all()
    html = highlight(text, 0)
    assert html.count("<span") == int(text.mask[0].sum())
    with pytest.raises(UsageError, match="no tokens"):
        highlight(cam)
    with pytest.raises(UsageError, match="no example 9"):
        overlay(cam, pics.clean, 9)
    with pytest.raises(UsageError, match="alpha"):
        overlay(cam, pics.clean, 0, alpha=2.0)
    with pytest.raises(ShapeError, match=r"needs \(y, x\)"):
        overlay(text, pics.clean)
    with pytest.raises(ShapeError, match="images must be"):
        overlay(cam, pics.clean[:2])


def test_token_texts_are_data_never_markup(ioi):
    subject, task = ioi
    found = gradient(subject, task[:1])
    hostile = Attribution(**{**vars(found), "tokens": [["<script>alert(1)</script>", '"><img src=x>'] * 20]})
    for html in (highlight(hostile), hostile._repr_html_()):
        assert "<script" not in html
        assert "<img" not in html


def test_figures_are_centred_at_zero(ioi, shapes):
    pytest.importorskip("plotly")
    subject, task = ioi
    bars = gradient(subject, task, times="input").plot(2)
    assert bars.data[0].type == "bar"
    drawn = with_interval(subject, task, partial(shapley_sampling, samples=2), repeats=3).plot(0)
    assert drawn.data[0].error_y.array is not None
    cnn, pics = shapes
    heat = gradient(cnn, pics).plot(1)
    assert heat.data[0].zmin == -heat.data[0].zmax
    with pytest.raises(UsageError, match="no example"):
        gradient(cnn, pics).plot(-1)
