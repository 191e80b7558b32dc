"""Bad input: every one is a typed error that names what is wrong, or an explicit note; and nothing is left behind."""

import contextlib
import inspect
from dataclasses import replace

import pytest
import torch
from torch import nn

import microtome as mt
from microtome.attribute import (
    conductance,
    deeplift,
    expected_gradients,
    feature_ablation,
    grad_cam,
    gradient,
    guided_backprop,
    integrated_gradients,
    kernel_shap,
    lime,
    lrp,
    occlusion,
    rise,
    shapley_sampling,
    smoothgrad,
    vargrad,
)
from microtome.errors import MicrotomeError, ShapeError, SiteError, UsageError
from microtome.methods import all_methods
from microtome.organisms import fit
from microtome.stimuli.task import Task
from microtome.stimuli.vision.scenes import pictures
from microtome.subject.subject import Subject

BY_GRADIENT = (gradient, integrated_gradients, lrp, deeplift, smoothgrad, vargrad, guided_backprop, conductance)
BY_BASELINE = (
    integrated_gradients, deeplift, occlusion, feature_ablation, kernel_shap, shapley_sampling, lime, rise, expected_gradients,
)  # fmt: skip


def task(x: torch.Tensor, classes: int = 2) -> Task:
    y = torch.arange(len(x)) % classes
    return Task("t", x, x.flip(0) + 1, y, (y + 1) % classes, kind="image", groups=list(range(len(x))))


def seeded(make, seed: int = 0) -> nn.Module:
    return fit.seeded(make, seed, "bad input")


def rows(n: int = 4, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [gradient, occlusion, lrp, kernel_shap, grad_cam])
@pytest.mark.parametrize("metric", ["logit_difference", "log_prob", "log_odds", "probability_difference"])
def test_targets_out_of_range_are_named(method, metric):
    cnn = mt.load("organism:vision-cnn")
    x, _ = pictures(3, seed=0)
    beyond = Task("shape", x, x.flip(0), torch.tensor([0, 7, 1]), torch.tensor([1, 0, 0]), kind="image", groups=[0, 1, 2])
    options = {"size": 16} if method is occlusion else {"features": 16} if method is kernel_shap else {}
    with pytest.raises(UsageError, match=r"answer 7 of example 1 is out of range: the subject has 4 outputs, 0 to 3"):
        method(cnn, beyond, metric=metric, **options)
    with pytest.raises(UsageError, match="answer -1"):
        method(cnn, replace(beyond, answers=torch.tensor([-1, 1, 1])), metric=metric, **options)


class Rounded(nn.Module):
    """Whole numbers in the middle: what is before them has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pick, self.table = nn.Linear(3, 4), nn.Identity(), nn.Embedding(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table(self.pick(self.first(x).argmax(-1)))


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_sites_without_gradient_are_refused_with_the_way_out(method):
    subject = Subject(seeded(Rounded))
    with pytest.raises(SiteError, match="occlusion"):
        method(subject, task(rows()), **({"at": "first"} if method is conductance else {}))
    with pytest.raises(SiteError, match="whole numbers"):
        method(subject, task(rows()), at="pick")
    assert occlusion_works(subject)


def occlusion_works(subject: Subject) -> bool:
    """The way out that the error names."""
    return bool(torch.isfinite(feature_ablation(subject, task(rows())).values).all())


class Counts(nn.Module):
    """Whole numbers in, no embedding, no layer."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return torch.stack([input_ids.sum(1) % 3, input_ids.sum(1) % 5], 1).float()


class Embedded(nn.Module):
    """Whole numbers in, an embedding behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(8, 4), nn.Linear(12, 2)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(input_ids).flatten(1))


def test_whole_numbers_without_embeddings_are_refused():
    ids = torch.randint(5, (4, 3), generator=torch.Generator().manual_seed(1))
    for method in (gradient, integrated_gradients, occlusion):
        with pytest.raises(UsageError, match="name the site yourself"):
            method(Subject(Counts()), task(ids))
    found = gradient(Subject(seeded(Embedded)), task(ids))
    assert (found.site, tuple(found.values.shape)) == ("table", (4, 3, 4))  # behind the embedding, where there is a gradient


@pytest.mark.parametrize("method", BY_BASELINE)
def test_baselines_of_a_wrong_shape_are_refused(method):
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    with pytest.raises(ShapeError, match=r"baseline \[5\] does not fit 0:input \[3, 3, 8, 8\]"):
        method(chain(False), task(x), baseline=torch.zeros(5))
    with pytest.raises(UsageError, match="black"):
        method(chain(False), task(x), baseline="black")


class Odd(nn.Module):
    """Functions that no composite has a rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.cumsum(torch.sin(self.a(x)), 1))


def test_calls_without_a_rule_are_named_with_what_they_cost():
    found = lrp(Subject(seeded(Odd)), task(rows()), composite="epsilon")
    assert found.settings["without_rule"] == ["(root):cumsum", "(root):sin"]
    assert set(found.settings["without_rule"]) <= set(found.lost)
    assert float(found.lost["(root):sin"].abs().max()) > 1e-3  # sin(z) is not z: this is what it costs
    assert float(found.lost["(root):cumsum"].abs().max()) < 1e-5  # linear: nothing is lost
    torch.testing.assert_close(found.residual, -torch.stack(list(found.lost.values())).sum(0), rtol=1e-4, atol=1e-5)
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert lrp(Subject(plain), task(rows()), composite="epsilon").settings["without_rule"] == []


def chain(inplace: bool) -> Subject:
    return Subject(seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=inplace), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 2),
    )))  # fmt: skip


@pytest.mark.parametrize("at", [None, "0", "1", "2"])
@pytest.mark.parametrize(
    "method", [gradient, integrated_gradients, lrp, deeplift, guided_backprop, grad_cam, occlusion, smoothgrad]
)
def test_modules_that_work_in_place_change_nothing(method, at):
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    options = {"size": 2} if method is occlusion else {"samples": 3} if method is smoothgrad else {}
    apart, in_place = (method(chain(flag), task(x), at=at, **options) for flag in (False, True))
    torch.testing.assert_close(in_place.values, apart.values, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(in_place.output, apart.output)


def noisy() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    return net.train()


@pytest.mark.parametrize("at", [None, "0"])
@pytest.mark.parametrize("method", [gradient, feature_ablation, lrp, kernel_shap, integrated_gradients, deeplift, smoothgrad])
def test_models_in_train_mode_are_refused(method, at):
    """Dropout and batch statistics would change from run to run; a subject puts its model in use, and says when it is not."""
    net = seeded(noisy)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    subject = Subject(net)
    assert not net.training
    assert torch.equal(method(subject, task(rows()), at=at).values, method(subject, task(rows()), at=at).values)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "running statistics moved"
    net[1].train()
    with pytest.raises(UsageError, match=r"1 of .* is in train mode; call subject.module.eval\(\)"):
        method(subject, task(rows()), at=at)


def test_maps_of_models_in_train_mode_are_refused():
    subject = chain(False)
    subject.module.train()
    with pytest.raises(UsageError, match="train mode"):
        grad_cam(subject, task(torch.rand(3, 3, 8, 8)))


class Breaks(nn.Module):
    """Fails in the middle of a forward, from the second call on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.act, self.two, self.calls = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Linear(4, 2), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.one(x))
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("the model broke")
        return self.two(h.mean((2, 3)))


def left_behind(module: nn.Module) -> list[str]:
    hooks = [f"{n}.{k}" for n, m in module.named_modules() for k, v in vars(m).items() if k.endswith("_hooks") and v]
    forwards = [n for n, m in module.named_modules() if "forward" in vars(m)]
    return hooks + forwards + [n for n, p in module.named_parameters() if not p.requires_grad or p.grad is not None]


def on_networks() -> list[str]:
    """Methods that a subject and a task are enough for."""
    found = []
    for key, method in all_methods(["attribute"]).items():
        parameters = inspect.signature(method.function).parameters.values()
        data = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        if data == ["subject", "task"] and set(needed) <= {"at"}:
            found.append(key)
    return found


@pytest.mark.parametrize("key", on_networks())
def test_hooks_never_survive_an_error(key):
    module = seeded(Breaks).eval()
    method = all_methods(["attribute"])[key]
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    required = {
        p.name: "act" for p in inspect.signature(method.function).parameters.values() if p.default is p.empty and p.name == "at"
    }
    for calls in (0, 1):  # at the second forward, and at the first
        module.calls = calls
        with contextlib.suppress(RuntimeError, MicrotomeError):
            method.function(Subject(module), task(x), **required)
        assert left_behind(module) == []
        assert torch.overrides._get_current_function_mode() is None
        assert torch.is_grad_enabled()
        assert not module.training
