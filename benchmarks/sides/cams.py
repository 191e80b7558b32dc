"""Class activation maps that are products of the same two tensors, by microtome and by torchcam."""

from harness.work import Work
from torch import Tensor

from sides import vision
from sides.attributions import scaled, single

#: Name of a formula here, and of the class there.
FORMULAS = {"grad": "GradCAM", "xgrad": "XGradCAM", "layer": "LayerCAM"}


def microtome(settings: dict) -> Work:
    """`grad_cam` with the formula of the case, on the grid of the layer."""
    from microtome.attribute import grad_cam

    case = single(vision.resnet(settings), *vision.pictures(settings))
    options = {"at": f"0.{settings['layer']}", "formula": settings["formula"]}
    return Work(lambda: grad_cam(*case, **options).values, _maps)


def torchcam(settings: dict) -> Work:
    """The class of the case; torchcam's extractor stays on the network and is given the scores of each forward."""
    import torchcam.methods

    net, (x, y) = vision.resnet(settings), vision.pictures(settings)
    extractor = getattr(torchcam.methods, FORMULAS[settings["formula"]])(net, net.get_submodule(settings["layer"]))
    return Work(lambda: extractor(y.tolist(), net(x))[0], _maps)


def _maps(found: Tensor) -> dict:
    """Positive parts, each map from 0 to 1."""
    return {"maps": scaled(found.detach().clamp(min=0).numpy())}
