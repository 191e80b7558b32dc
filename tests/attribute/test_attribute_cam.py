"""Class activation maps: the peer's numbers, CAM's own formula on GAP networks, layouts without a callback, refusals."""

from pathlib import Path

import numpy as np
import peer_models as models
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from microtome.attribute import ablation_cam, eigen_cam, grad_cam, guided_backprop, guided_grad_cam, heatmap, score_cam
from microtome.attribute.layout import layout_of
from microtome.errors import SiteError, UsageError
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

REFERENCES = Path(__file__).parent / "references"


class Zeroed(nn.Module):
    """One more class whose logit is always 0, so that a difference of logits is a logit."""

    def forward(self, y):
        return F.pad(y, (0, 1))


def one_logit(module: nn.Module, x: torch.Tensor, classes: int = 5) -> tuple[Subject, Task]:
    t = Task(
        "t", x, x * 0.5, models.TARGETS[: len(x)], torch.full((len(x),), classes), kind="image", groups=list(range(len(x)))
    )
    return Subject(nn.Sequential(*module, Zeroed())), t


CALLS = {
    "grad_cam": grad_cam, "grad_cam_plus_plus": lambda *a, **k: grad_cam(*a, formula="plus_plus", **k),
    "xgrad_cam": lambda *a, **k: grad_cam(*a, formula="xgrad", **k),
    "hires_cam": lambda *a, **k: grad_cam(*a, formula="hires", **k),
    "layer_cam": lambda *a, **k: grad_cam(*a, formula="layer", **k),
    "eigen_cam": eigen_cam, "score_cam": score_cam,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CALLS))
def test_maps_equal_the_peer_grad_cam(name):
    theirs = np.load(REFERENCES / "grad_cam.npz")[name]
    found = CALLS[name](*one_logit(models.plain_cnn(), models.images()), at="3").values.numpy()
    if name == "eigen_cam":  # a direction has no sign there
        found = found * np.sign((found * theirs).sum((1, 2), keepdims=True))
    scale = np.abs(theirs).max()
    assert np.abs(found - theirs).max() <= 2e-5 * scale


def test_score_cam_equals_a_slow_oracle():
    net, x = models.plain_cnn(), models.images(2)
    found = score_cam(*one_logit(net, x), at="3").values
    with torch.no_grad():
        a = net[:4](x)
        for i in range(2):
            scores = []
            for k in range(a.shape[1]):
                mask = F.interpolate(a[i : i + 1, k : k + 1], (12, 12), mode="bilinear", align_corners=True)
                mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
                scores.append(net(x[i : i + 1] * mask)[0, models.TARGETS[i]])
            slow = (torch.stack(scores).softmax(0)[:, None, None] * a[i]).sum(0)
            torch.testing.assert_close(found[i], slow, rtol=1e-9, atol=1e-12)


def test_ablation_cam_equals_a_slow_oracle():
    # The peer sets a removed channel far below 0, the paper and ours to 0: it is no oracle here.
    net, x = models.plain_cnn(), models.images(2)
    found = ablation_cam(*one_logit(net, x), at="3").values
    with torch.no_grad():
        a = net[:4](x)
        rest = net[4:]
        rows = torch.arange(2)
        base = rest(a)[rows, models.TARGETS[:2]]
        slow = torch.zeros_like(a[:, 0])
        for k in range(a.shape[1]):
            without = a.clone()
            without[:, k] = 0
            drop = (base - rest(without)[rows, models.TARGETS[:2]]) / base.abs()
            slow += drop[:, None, None] * a[:, k]
    torch.testing.assert_close(found, slow, rtol=1e-9, atol=1e-12)


def gap(size: int = 8) -> nn.Sequential:
    parts = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    return models.drawn(nn.Sequential(*parts))


def test_with_global_pooling_grad_cam_is_cam_exactly():
    """alpha_k = w_k / Z, so the map is the class's row of the head over the activations."""
    net, x = gap(), models.images()
    found = grad_cam(*one_logit(net, x), at="1").values
    with torch.no_grad():
        a = net[:2](x)
        cam = torch.einsum("nk,nkyx->nyx", net[4].weight[models.TARGETS], a) / 144
    torch.testing.assert_close(found, cam, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(grad_cam(*one_logit(net, x)).values, cam, rtol=1e-10, atol=1e-14)  # found by itself


def test_guided_grad_cam_is_the_product_exactly():
    subject, t = one_logit(gap(), models.images())
    fine, coarse = guided_backprop(subject, t).values, heatmap(grad_cam(subject, t), (12, 12))
    torch.testing.assert_close(guided_grad_cam(subject, t).values, fine * coarse[:, None], rtol=1e-12, atol=1e-15)


def test_sound_has_channels_behind_the_batch():
    net = models.drawn(nn.Sequential(nn.Conv1d(1, 6, 5), nn.ReLU(), nn.MaxPool1d(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                                     nn.Linear(6, 5)))  # fmt: skip
    x = torch.randn(4, 1, 40, dtype=torch.float64)
    found = grad_cam(*one_logit(net, x))
    assert found.axes == ("batch", "position")
    assert found.values.shape == (4, 36)
    with torch.no_grad():
        a = net[:2](x)
    pooled = a.unfold(2, 2, 2).amax(-1)  # the head sees maxima of pairs: gradient w_k / 18 at each
    weights = net[5].weight[models.TARGETS].detach() * pooled.shape[2] / 18 / 36
    torch.testing.assert_close(found.values, (weights[:, :, None] * a).sum(1), rtol=1e-9, atol=1e-12)


def test_vit_tokens_come_back_on_their_grid():
    import microtome as mt

    subject = mt.load("organism:vision-vit")
    from microtome.stimuli.vision.scenes import pictures

    x, y = pictures(2, 0)
    t = Task("t", x, x.flip(0), y, (y + 1) % 4, kind="image", groups=[0, 1])
    found = grad_cam(subject, t)
    assert found.axes == ("batch", "y", "x")
    config = subject.module.config
    assert found.values.shape[1:] == (config.image_size // config.patch_size,) * 2
    site = found.site
    tokens = subject.run(x, record=[site])[site]
    layout = layout_of(subject, site, tokens)
    torch.testing.assert_close(layout.join(layout.split(tokens), tokens), tokens, rtol=0, atol=0)


def test_views_do_not_change_values():
    found = grad_cam(*one_logit(gap(), models.images()))
    before = found.values.clone()
    assert heatmap(found, (24, 24)).shape == (4, 24, 24)
    assert float(heatmap(found, (24, 24)).min()) >= 0
    assert torch.equal(found.values, before)
    assert found.settings["nowhere_positive"] == (~(before.flatten(1) > 0).any(1)).nonzero().flatten().tolist()


def test_refusals():
    subject, t = one_logit(gap(), models.images())
    with pytest.raises(UsageError, match="no formula"):
        grad_cam(subject, t, formula="gradd")
    with pytest.raises(SiteError, match="no places"):
        grad_cam(subject, t, at="4")
    flat, rows = Subject(nn.Sequential(nn.Linear(4, 5)).double()), torch.eye(2, 4).double()
    with pytest.raises(SiteError, match="no convolution"):
        grad_cam(flat, Task("t", rows, -rows, torch.tensor([0, 1]), torch.tensor([1, 0]), kind="image"))
