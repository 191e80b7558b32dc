"""The same attributions by captum, zennit, shap and pytorch-grad-cam."""

import numpy as np
import torch
from harness.work import Work

from sides import vision
from sides.absent import stand_in
from sides.attributions import scaled, shapley_outputs, spread


def captum(settings: dict) -> Work:
    """`IntegratedGradients`, or `LayerIntegratedGradients` of the layer `layer`."""
    from captum.attr import IntegratedGradients, LayerIntegratedGradients

    net, (x, y) = vision.resnet(settings), vision.pictures(settings)
    layer = settings.get("layer")
    method = LayerIntegratedGradients(net, net.get_submodule(layer)) if layer else IntegratedGradients(net)
    options = {"target": y, "n_steps": settings["steps"], "method": "gausslegendre"}
    return Work(lambda: method.attribute(x, **options), spread)


def zennit(settings: dict) -> Work:
    """`EpsilonPlus`, batch norms merged."""
    stand_in()
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonPlus

    net, (x, y) = vision.vgg(settings), vision.pictures(settings)
    chosen = torch.nn.functional.one_hot(y, vision.CLASSES).float()

    def call():
        composite = EpsilonPlus(canonizers=[SequentialMergeBatchNorm()])
        with Gradient(model=net, composite=composite, attr_output=lambda out: out * chosen) as attributor:
            return attributor(x)[1]

    return Work(call, spread)


def grad_cam(settings: dict) -> Work:
    """`GradCAM` of the last stage."""
    stand_in()
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, (x, y) = vision.resnet(settings), vision.pictures(settings)
    method = GradCAM(model=net, target_layers=[net.layer4[-1]])
    targets = [ClassifierOutputTarget(int(t)) for t in y]
    return Work(lambda: method(input_tensor=x, targets=targets), lambda found: {"maps": scaled(found)})


def shap(settings: dict) -> Work:
    """`KernelExplainer` with one background row of zeros and no selection of features."""
    import shap as peer

    def explain(features: int, samples: int):
        net, (x, y) = vision.table(features), vision.rows(settings, features)

        def of(table: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return net(torch.as_tensor(table, dtype=torch.float32)).numpy()

        method = peer.KernelExplainer(of, np.zeros((1, features), dtype=np.float32))
        every = np.arange(len(x))

        def call() -> np.ndarray:
            found = method.shap_values(x.numpy(), nsamples=samples, l1_reg=False, silent=True)
            return found[every, :, y.numpy()]

        return call

    return Work(explain(settings["features"], settings["samples"]), lambda found: shapley_outputs(found, explain(10, 1022)()))
