"""Pixel flipping, pixel by pixel, and the randomisation test, of the gradients of a small network for small pictures."""

from functools import cache

import numpy as np
import torch
from harness.work import Work
from torch import Tensor, nn

from sides.absent import stand_in


@cache
def network(classes: int) -> nn.Sequential:
    """Two convolutions and a linear layer, weights from one generator."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, classes),
    ).eval()  # fmt: skip


def pictures(settings: dict) -> tuple[Tensor, Tensor]:
    """Pictures [n, 1, 8, 8] whose darkest pixel is 0 (what the peer fills in), and classes."""
    draw = np.random.default_rng(0)
    x = draw.random((settings["pictures"], 1, 8, 8), dtype=np.float32)
    x[:, :, 0, 0] = 0
    return torch.from_numpy(x), torch.from_numpy(draw.integers(settings["classes"], size=len(x)))


def _outputs(found: tuple) -> dict[str, np.ndarray]:
    """The curve; the randomisation test draws other weights on each side."""
    return {"flipped": np.asarray(found[0], dtype=np.float64)}


def microtome(settings: dict) -> Work:
    """`perturbation_curves` and `mprt`."""
    from microtome.attribute import gradient, mprt, perturbation_curves
    from microtome.stimuli.task import Task
    from microtome.subject.subject import Subject

    x, y = pictures(settings)
    subject = Subject(network(settings["classes"]))
    # The log-probability's gradient is not that of the logit: attribute the logit, as the peer is told to.
    logit = Subject(nn.Sequential(*network(settings["classes"]), nn.ZeroPad1d((0, 1))))
    task = Task("picture", x, x.flip(0), y, (y + 1) % settings["classes"], kind="image", metric="probability")
    alone = Task("logit", x, x.flip(0), y, torch.full_like(y, settings["classes"]), kind="image")
    maps = gradient(logit, alone)
    shown = type(maps)(**{**vars(maps), "subject": subject.fingerprint(), "data": task.fingerprint()})
    shares = [k / 64 for k in range(1, 65)]

    def call() -> tuple:
        curves = perturbation_curves(subject, task, shown, shares=shares, baseline=0.0, metric="probability")
        return curves.most[1:].T, mprt(logit, alone, gradient)

    return Work(call, _outputs)


def quantus(settings: dict) -> Work:
    """`PixelFlipping` and `MPRT`."""
    stand_in()
    import quantus as peer

    x, y = pictures(settings)
    net = network(settings["classes"])

    def explain(model, inputs, targets, **_) -> np.ndarray:
        leaf = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).clone().requires_grad_(True)
        chosen = model(leaf)[torch.arange(len(leaf)), torch.as_tensor(np.asarray(targets))]
        return torch.autograd.grad(chosen.sum(), leaf)[0].numpy()

    options = {"abs": False, "normalise": False, "display_progressbar": False, "disable_warnings": True}
    flipping = peer.PixelFlipping(features_in_step=1, perturb_baseline="black", **options)
    randomised = peer.MPRT(layer_order="top_down", **options)
    given = {"model": net, "x_batch": x.numpy(), "y_batch": y.numpy(), "a_batch": explain(net, x, y), "device": "cpu"}

    def call() -> tuple:
        return flipping(**given), randomised(**given, explain_func=explain)

    return Work(call, _outputs)
