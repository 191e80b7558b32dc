"""Attributions by microtome: integrated gradients at the input and at a late layer, relevance, KernelSHAP, Grad-CAM."""

from collections.abc import Callable

import numpy as np
import torch
from harness.work import Work
from torch import Tensor, nn

from sides import vision


def single(net: nn.Module, x: Tensor, y: Tensor) -> tuple:
    """Subject and task whose metric is the logit of `y`: the wrong answer is a class that is always 0."""
    from microtome.stimuli.task import Task
    from microtome.subject.subject import Subject

    absent = torch.full_like(y, vision.CLASSES)
    return Subject(nn.Sequential(net, nn.ZeroPad1d((0, 1)))), Task("logit", x, x * 0, y, absent, kind="image")


def _values(found) -> dict[str, np.ndarray]:
    return spread(found.values)


def spread(values: Tensor) -> dict[str, np.ndarray]:
    """Values in units of their standard deviation, so that a difference says something."""
    return {"values": (values / values.std()).detach().numpy()}


def integrated_gradients(settings: dict) -> Work:
    """`integrated_gradients` of pixels, or of the layer `layer`."""
    from microtome.attribute import integrated_gradients as method

    case = single(vision.resnet(settings), *vision.pictures(settings))
    at = {"at": f"0.{settings['layer']}", "baseline": "corrupt"} if settings.get("layer") else {}
    return Work(lambda: method(*case, steps=settings["steps"], **at), _values)


def relevance(settings: dict) -> Work:
    """`lrp` with the composite epsilon-plus; what is lost is accounted for as well."""
    from microtome.attribute import lrp

    case = single(vision.vgg(settings), *vision.pictures(settings))
    return Work(lambda: lrp(*case), _values)


def grad_cam(settings: dict) -> Work:
    """`grad_cam` of the last stage, and its view of the size of the pictures."""
    from microtome.attribute import grad_cam as method
    from microtome.attribute import heatmap

    case = single(vision.resnet(settings), *vision.pictures(settings))
    size = (settings["size"], settings["size"])
    return Work(lambda: heatmap(method(*case, at="0.layer4.1"), size), lambda found: {"maps": scaled(found.numpy())})


def scaled(maps: np.ndarray) -> np.ndarray:
    """Each map from 0 to 1, as the peer gives it."""
    flat = maps.reshape(len(maps), -1)
    low = flat.min(1)[:, None, None]
    return (maps - low) / (1e-7 + flat.max(1)[:, None, None] - low)


def kernel_shap(settings: dict) -> Work:
    """`kernel_shap` of the columns of a table."""
    from microtome.attribute import kernel_shap as method

    def explain(features: int, samples: int) -> Callable[[], np.ndarray]:
        case = single(vision.table(features), *vision.rows(settings, features))
        return lambda: method(*case, samples=samples).values.numpy()

    return Work(explain(settings["features"], settings["samples"]), lambda found: shapley_outputs(found, explain(10, 1022)()))


def shapley_outputs(found: np.ndarray, exact: np.ndarray) -> dict[str, np.ndarray]:
    """Values of ten columns, of which all coalitions are asked, and the sums of the sampled values."""
    return {"exact": exact.astype(np.float64), "sums": found.sum(1).astype(np.float64)}
