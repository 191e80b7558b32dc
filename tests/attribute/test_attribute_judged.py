"""Methods judged: the axiom card, methods side by side, retraining, end tasks and counterexamples."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from attribute_models import model
from scipy.stats import spearmanr

from microtome.attribute import (
    MEASURES,
    Measure,
    axiom_card,
    counterexample,
    decides,
    deeplift,
    diffroar,
    evaluate,
    feature_ablation,
    grad_cam,
    gradient,
    guided_backprop,
    integrated_gradients,
    kernel_shap,
    local_trend,
    lrp,
    random_map,
    recourse,
    reliance,
    roar,
)
from microtome.errors import Degenerate, ShapeError, SiteError, UsageError
from microtome.stimuli.task import Task
from microtome.stimuli.vision import blocks
from microtome.subject.subject import Subject

#: Which axioms each method breaks, from the papers: gradients are not complete, DeepLIFT reads the implementation, CAM has no
#: place for what it does not see. (Without max pools the rules of LRP are those of gradient times input, biases apart.)
BROKEN = {
    gradient: {"completeness"},
    partial(gradient, times="input"): {"completeness"},
    integrated_gradients: set(),
    deeplift: {"implementation"},
    lrp: set(),
    guided_backprop: {"completeness", "linearity"},
    grad_cam: {"completeness", "dummy"},
}


@pytest.mark.parametrize("method", BROKEN)
def test_the_card_knows_the_counterexamples_of_the_papers(method):
    card = axiom_card(method)
    table = card.table.set_index("axiom")
    assert set(table.index) == {"completeness", "dummy", "rescaling", "permutation", "splitting", "implementation",
                                "linearity", "symmetry", "class sensitivity"}  # fmt: skip
    assert BROKEN[method] <= set(table.index[~table.holds]), table
    if not BROKEN[method]:
        assert table.holds.all(), table
    assert (table.control[table.index != "class sensitivity"] > 0.02).all()


def test_exact_invariances_are_exact_and_bad_methods_fail_them():
    table = axiom_card(gradient).table.set_index("axiom")
    assert (table.violation[["dummy", "rescaling", "permutation", "splitting", "linearity"]] < 1e-12).all()

    def deaf(subject, task):
        """The input alone: no class, no network."""
        return replace(gradient(subject, task), values=task.clean)

    table = axiom_card(deaf).table.set_index("axiom")
    assert not table.holds[["completeness", "dummy", "linearity", "class sensitivity"]].any()
    weights = axiom_card(lambda s, t: replace(gradient(s, t), values=t.clean * s.module[0].weight.detach().abs().sum()))
    assert not weights.table.set_index("axiom").holds["rescaling"]
    with pytest.raises(UsageError, match="tolerance"):
        axiom_card(gradient, tolerance=0)


def planted(n: int = 24) -> tuple[Subject, Task]:
    """A linear network that reads 3 of 12 cells, on inputs away from 0."""
    net = torch.nn.Sequential(torch.nn.Linear(12, 3, bias=False)).double()
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[0, :3] = torch.tensor([3.0, 2.0, 1.0])
    x = torch.rand(n, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    zero = torch.zeros(n, dtype=torch.long)
    return Subject(net), Task("planted", x, -x, zero, zero + 1, kind="image", groups=list(range(n)))


def test_evaluation_prefers_what_is_right():
    subject, task = planted()

    def wrong(subject, task):
        """The right map upside down."""
        found = gradient(subject, task)
        return replace(found, values=-found.values)

    masks = (torch.arange(12) < 3).expand(len(task), -1)
    found = evaluate(subject, task, {"right": gradient, "wrong": wrong}, baseline=0.0, masks=masks,
                     measures=["deletion", "insertion", "pointing_game", "gini"])  # fmt: skip
    table = found.differences().set_index(["measure", "a", "b"]).better
    for measure in ("deletion", "insertion", "pointing_game"):
        assert table[measure, "right", "wrong"] == "right"
        assert table[measure, "right", "random map"] == "right"
    assert table["deletion", "wrong", "random map"] == "random map"
    assert table["gini", "right", "wrong"] == ""  # as concentrated as each other
    assert found.finding().verdict == "supported"
    assert set(found.table.columns) == {"measure", "family", "better", "method", "mean", "low", "high", "n"}
    # A difference of the table is that of the scores.
    row = found.differences().iloc[0]
    gap = found.scores["right", "deletion"] - found.scores["wrong", "deletion"]
    assert row.difference == pytest.approx(gap.mean())
    assert row.low <= gap.mean() <= row.high


def test_random_maps_are_not_told_apart_more_often_than_chance():
    subject, task = planted()
    other = partial(random_map, like=gradient, seed=1)
    found = [evaluate(subject, task, {"other": other}, measures=["deletion", "gini", "entropy"], baseline=0.0, seed=s)
             for s in (5, 6, 7, 8)]  # fmt: skip
    assert sum((f.differences().better != "").any() for f in found) <= 1
    assert sum(f.finding().verdict == "supported" for f in found) <= 1


def test_groups_are_averaged_before_anything_is_tested():
    subject, task = planted(12)
    grouped = replace(task, groups=[i // 4 for i in range(12)])
    found = evaluate(subject, grouped, [gradient], measures=["gini"])
    whole = evaluate(subject, task, [gradient], measures=["gini"])
    np.testing.assert_allclose(found.scores["gradient", "gini"], whole.scores["gradient", "gini"].reshape(3, 4).mean(1))


def test_every_measure_runs_on_pictures():
    subject, task = model("cnn", 2)
    masks = torch.zeros(4, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 3:6] = True
    found = evaluate(subject, task, [gradient], measures=list(MEASURES), masks=masks)
    assert len(found.table) == 2 * len(MEASURES)
    assert np.isfinite(found.table[["mean", "low", "high"]].to_numpy()).all()
    own = Measure("size", "mine", "lower", lambda case: case.attribution.values.flatten(1).norm(dim=1))
    assert evaluate(subject, task, [gradient], measures=[own]).measures == (own,)


def test_refusals_of_evaluate():
    subject, task = planted(4)
    for wrong, said in (({"measures": ["deletoin"]}, "'deletion'"), ({"measures": []}, "no measures"),
                        ({"measures": ["pointing_game"]}, "masks")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            evaluate(subject, task, [gradient], **wrong)
    with pytest.raises(UsageError, match="at least one"):
        evaluate(subject, task, [])
    with pytest.raises(UsageError, match="name of its own"):
        evaluate(subject, task, [gradient, partial(gradient, times="input")])
    with pytest.raises(Degenerate, match="one group"):
        evaluate(subject, task[:1], [gradient])
    with pytest.raises(ShapeError, match="masks"):
        evaluate(subject, task, [gradient], masks=torch.ones(2, 12))


def centroids(x: torch.Tensor, y: torch.Tensor, seed: int):
    """The simplest network that can be trained: nearest class mean."""
    means = torch.stack([x[y == c].flatten(1).mean(0) for c in (0, 1)])
    return lambda z: -torch.cdist(z.flatten(1), means)


def test_retraining_finds_the_block_that_tells():
    parts = []
    for half in ("train", "test"):
        data = blocks(300, 3, half=half, top=True)
        y = torch.tensor(data.labels("label"))
        task = Task("digit", data.inputs, data.inputs.flip(0), y, 1 - y, kind="image", groups=list(range(300)))
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(128, 2))
        found = gradient(Subject(net), task)
        parts.append((task, replace(found, values=data.masks["signal"].flatten(1).float())))
    found = diffroar(*parts, centroids, shares=(0.3, 0.5))
    assert (found.difference > 0.3).all()
    assert (found.marked > 0.9).all()
    assert ((found.rest - 0.5).abs() < 0.15).all()
    removed = roar(*parts, centroids, shares=(0.5,))
    assert float(removed.marked) < 0.65 < float(removed.rest)
    assert list(found.table.columns) == ["share", "marked", "rest", "difference", "mask"]
    with pytest.raises(UsageError, match="between 0 and 1"):
        diffroar(*parts, centroids, shares=(1.0,))
    with pytest.raises(ShapeError, match="examples"):
        diffroar((parts[0][0][:5], parts[0][1]), parts[1], centroids)
    with pytest.raises(SiteError, match="places"):
        diffroar((parts[0][0], replace(parts[0][1], values=torch.ones(300, 7))), parts[1], centroids)


def test_direct_queries_answer_the_end_tasks():
    net = torch.nn.Sequential(torch.nn.Linear(4, 2, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]]))
    x = torch.tensor([[-1.0, 0.5, 2.0, 0.0], [0.2, 0.0, -1.0, 1.0], [-2.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.long)
    subject, task = Subject(net), Task("linear", x, -x, zero, zero + 1, kind="image")
    rises = [bool(local_trend(subject, task, feature=i).yes.all()) for i in range(4)]
    assert rises == [True, False, False, True]
    trend = local_trend(subject, task, feature=1, delta=0.1, queries=50)
    assert (trend.low <= -2 * 0.05).all()
    assert (trend.high >= -2 * 0.05).all()
    assert trend.queries == 50
    relies = [bool(reliance(subject, task, feature=i, tolerance=1e-9).yes.any()) for i in range(4)]
    assert relies == [True, True, False, True]
    # Outputs are -2, 0.7 and -2: one step of the first feature by at most 2.5 helps all, by 1 only those already above.
    assert recourse(subject, task, feature=0, reach=2.5, queries=200).yes.tolist() == [True, True, True]
    assert recourse(subject, task, feature=0, reach=1.0).yes.tolist() == [False, True, False]


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_counterexamples_have_one_attribution_and_opposite_trends(kind):
    subject, task = model(kind, 2)
    methods = [partial(integrated_gradients, steps=32)]
    if kind == "mlp":  # six players: exact
        methods += [partial(kernel_shap, samples=62), feature_ablation]
    for i, feature in ((0, 1), (3, 4)):
        one = task[[i]]
        rising, falling = counterexample(subject, one, feature=feature)
        for method in methods:
            maps = [method(s, one).values.flatten() for s in (rising, falling)]
            assert float((maps[0][feature] - maps[1][feature]).abs()) < 1e-9
        near = abs(float(one.clean.flatten()[feature])) / 4
        trends = [local_trend(s, one, feature=feature, delta=near) for s in (rising, falling)]
        assert [bool(t.yes) for t in trends] == [True, False]
    with pytest.raises(ShapeError, match="one example"):
        counterexample(subject, task, feature=0)
    with pytest.raises(UsageError, match="feature must be"):
        counterexample(subject, task[:1], feature=10_000)
    still = replace(task[:1], clean=torch.zeros_like(task.clean[:1]))
    with pytest.raises(Degenerate, match="baseline"):
        counterexample(subject, still, feature=0)


def test_decisions_are_counted_right():
    scores, yes = torch.tensor([1.0, 2.0, -1.0, -3.0, 4.0]), torch.tensor([True, True, True, False, False])
    found = decides(scores, yes)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(1 / 2)
    pairs = [(s, t) for s in scores[yes] for t in scores[~yes]]
    assert found["auroc"] == pytest.approx(np.mean([float(s > t) for s, t in pairs]))
    with pytest.raises(Degenerate, match="same"):
        decides(scores, torch.ones(5))


def test_random_map_is_another_for_each_subject_and_task():
    subject, task = planted(6)
    first, again = (random_map(subject, task, like=gradient) for _ in range(2))
    torch.testing.assert_close(first.values, again.values)
    other = random_map(subject.twin(), task, like=gradient)
    assert abs(spearmanr(first.values.flatten(), other.values.flatten()).statistic) < 0.5
    assert not torch.allclose(first.values, other.values)
