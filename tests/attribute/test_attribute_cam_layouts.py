"""Every class activation map on a convolutional network, a transformer of patches and a network of sound: no callback."""

from functools import partial

import pytest
import torch
from torch import nn

import microtome as mt
from microtome.attribute import ablation_cam, eigen_cam, grad_cam, guided_backprop, guided_grad_cam, heatmap, score_cam
from microtome.attribute.cam import FORMULAS
from microtome.organisms.fit import seeded
from microtome.stimuli.audio import clips
from microtome.stimuli.task import Task
from microtome.stimuli.vision.scenes import pictures
from microtome.subject.gradients import gradients

CAMS = {
    **{f"grad_cam {name}": partial(grad_cam, formula=name) for name in FORMULAS},
    "score_cam": score_cam, "ablation_cam": ablation_cam, "eigen_cam": eigen_cam,
}  # fmt: skip


def images(name: str) -> tuple[mt.Subject, Task]:
    x, y = pictures(3, seed=1)
    return mt.load(name), Task("shape", x, x.flip(0), y, (y + 1) % 4, kind="image", groups=[0, 1, 2])


def sound() -> tuple[mt.Subject, Task]:
    """Two convolutions over time that keep a grid of it, then the mean."""
    net = seeded(lambda: nn.Sequential(
        nn.Conv1d(1, 6, 16, 8), nn.ReLU(), nn.Conv1d(6, 5, 8, 4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(5, 5),
    ), 0, "sound")  # fmt: skip
    made = clips(3, seed=0)
    wave = made.wave[:, None]
    return mt.Subject(net.eval()), Task(
        "digit", wave, wave.flip(0), made.digit, (made.digit + 1) % 5, kind="image", groups=[0, 1, 2]
    )


WORLDS = {
    "cnn": (partial(images, "organism:vision-cnn"), ("y", "x"), (32, 32)),
    "vit": (partial(images, "organism:vision-vit"), ("y", "x"), (32, 32)),
    "sound": (sound, None, None),
}


@pytest.fixture(scope="module")
def worlds():
    return {name: make() for name, (make, _, _) in WORLDS.items()}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("cam", CAMS)
def test_a_map_has_the_places_of_its_site_and_a_heat_map_those_of_the_input(worlds, world, cam):
    subject, task = worlds[world]
    found = CAMS[cam](subject, task)
    places = WORLDS[world][1] or found.axes[1:]
    assert found.axes == ("batch", *places)
    assert found.axes[1] in ("y", "position", "time")
    assert len(found) == 3
    size = WORLDS[world][2] or (task.clean.shape[-1],)
    shown = heatmap(found, size)
    assert shown.shape == (3, *size)
    assert float(shown.min()) >= 0
    assert bool(torch.isfinite(found.values).all())
    assert float(found.values.abs().max()) > 0


@pytest.mark.parametrize("world", WORLDS)
def test_the_places_are_those_of_the_recorded_site(worlds, world):
    """The grid equals the recorded tensor's, its class token left out; the map equals a loop over channels and places."""
    subject, task = worlds[world]
    found = grad_cam(subject, task)
    bound = subject.bind(task)
    _, grads, values = gradients(subject, bound.inputs, [found.site], bound.metric)
    a, g = values[found.site], grads[found.site]
    if world == "vit":
        side = found.values.shape[1]
        assert a.shape[1] == side * side + 1
        a, g = (v[:, 1:].mT.reshape(3, -1, side, side) for v in (a, g))
    assert a.shape[2:] == found.values.shape[1:]
    for i in range(3):
        by_hand = sum(float(g[i, k].mean()) * a[i, k] for k in range(a.shape[1]))
        torch.testing.assert_close(found.values[i], by_hand, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("world", WORLDS)
def test_guided_grad_cam_has_the_axes_of_the_input(worlds, world):
    subject, task = worlds[world]
    found, fine = guided_grad_cam(subject, task), guided_backprop(subject, task)
    assert found.axes == fine.axes
    assert found.values.shape == fine.values.shape
    if world == "vit":  # tokens: the class token stands for no place, all others are under the map of their cell
        assert not found.values[:, 0].any()
        mask = grad_cam(subject, task).values.clamp(min=0).flatten(1)
        torch.testing.assert_close(found.values[:, 1:], fine.values[:, 1:] * mask[..., None])
