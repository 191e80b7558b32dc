"""Write tests/attribute/references/*.npz with the peers; run it with the Python of benchmarks/peers-attribute.txt.

``python tests/attribute/make_references.py [--out FOLDER] [NAME...]``. captum 0.9.0, zennit 0.5.1, shap 0.51.0, grad-cam 1.5.7,
lxt 2.1, quantus 0.6.0. torchvision, which some of them import and none of these uses, may be absent: an empty module stands in.
"""

import sys
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "references"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "benchmarks")]

import peer_models as models
from sides.absent import stand_in

TARGETS = models.TARGETS


def main() -> None:
    """Write one file per name."""
    asked = sys.argv[1:]
    folder = Path(asked[1]) if asked[:1] == ["--out"] else FOLDER
    folder.mkdir(exist_ok=True)
    for name in asked[2 * (asked[:1] == ["--out"]) :] or ["zennit", "captum", "games", "grad_cam", "lxt", "judge"]:
        np.savez_compressed(folder / f"{name}.npz", **globals()[name]())


def zennit() -> dict:
    """Composites and single rules on the network with batch norms, which are merged."""
    stand_in()
    from zennit import composites as c
    from zennit import rules as r
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import LayerMapComposite, layer_map_base
    from zennit.layer import Sum
    from zennit.types import Convolution

    merge = [SequentialMergeBatchNorm()]
    low, high = torch.zeros(1, 3, 12, 12), torch.ones(1, 3, 12, 12)

    def single(rule):
        dense = (torch.nn.Linear, rule if isinstance(rule, r.WSquare | r.Flat) else r.Epsilon())
        return LayerMapComposite(layer_map_base() + [(Convolution, rule), dense], canonizers=merge)

    found = {}
    for name, composite in {
        "epsilon_plus": c.EpsilonPlus(canonizers=merge), "epsilon_plus_flat": c.EpsilonPlusFlat(canonizers=merge),
        "epsilon_alpha2_beta1": c.EpsilonAlpha2Beta1(canonizers=merge),
        "epsilon_gamma_box": c.EpsilonGammaBox(low, high, canonizers=merge),
        "excitation_backprop": c.ExcitationBackprop(canonizers=merge),
        "guided_backprop": c.GuidedBackprop(), "deconvnet": c.DeconvNet(),
        "epsilon": single(r.Epsilon()), "gamma": single(r.Gamma(0.5)), "wsquare": single(r.WSquare()),
        "flat": single(r.Flat()), "alpha1_beta0": single(r.AlphaBeta(1, 0)), "not_merged": c.EpsilonPlus(),
    }.items():  # fmt: skip
        net = models.cnn()
        x = models.images().requires_grad_(True)
        with composite.context(net) as changed:
            out = changed(x)
            one = torch.nn.functional.one_hot(TARGETS, 5).double()
            begin = one if name in ("guided_backprop", "deconvnet") else one * out.detach()
            found[name] = torch.autograd.grad(out, x, begin)[0].numpy()
    for name, composite in {
        "epsilon_plus": c.EpsilonPlus(), "epsilon_gamma_box": c.EpsilonGammaBox(low, high),
        "epsilon_alpha2_beta1": c.EpsilonAlpha2Beta1(),
    }.items():  # fmt: skip
        net, x = models.drawn(models.Added(Sum())), models.images().requires_grad_(True)
        with composite.context(net) as changed:
            out = changed(x)
            chosen = torch.nn.functional.one_hot(TARGETS, 5) * out.detach()
            found[f"added_{name}"] = torch.autograd.grad(out, x, chosen)[0].numpy()
    return found


def captum() -> dict:
    """DeepLIFT's rescale rule, Grad-CAM, and the paths: internal influence, integrated gradients of a layer, GradientSHAP.

    Average pools: behind a ReLU captum's rule for max pools misses completeness (by 0.15 of 0.07 on this network), since the
    ReLU reads its signal before the pool has changed it.
    """
    from captum.attr import (
        DeepLift,
        GradientShap,
        IntegratedGradients,
        InternalInfluence,
        LayerGradCam,
        LayerIntegratedGradients,
    )

    net, x = models.plain_cnn(torch.nn.AvgPool2d), models.images()
    found = {
        "deeplift": DeepLift(net).attribute(x, baselines=x.flip(0) * 0.5, target=TARGETS),
        "deeplift_zero": DeepLift(net).attribute(x, target=TARGETS),
        "layer_grad_cam": LayerGradCam(net, net[3]).attribute(x, target=TARGETS),
    }
    rule = {"target": TARGETS, "n_steps": 24, "method": "gausslegendre"}
    found["internal_influence"] = InternalInfluence(net, net[3]).attribute(x, **rule)
    found["layer_integrated_gradients"] = LayerIntegratedGradients(net, net[3]).attribute(x, **rule)
    torch.manual_seed(0)
    found["integrated_gradients"] = IntegratedGradients(net).attribute(x, baselines=x.flip(0) * 0.5, **rule)
    found["gradient_shap"] = GradientShap(net).attribute(x, x.flip(3) * 0.5, n_samples=2000, stdevs=0.02, target=TARGETS)
    return {name: value.detach().numpy() for name, value in found.items()}


def games() -> dict:
    """Players are the columns of a table: shap's KernelSHAP, which asks all 62 coalitions, and what captum has."""
    import shap
    from captum.attr import FeatureAblation, LayerConductance, ShapleyValues, ShapleyValueSampling

    net, every = models.table(), models.rows()
    x, other = every[:4], every[4:]

    def of(table: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.tensor(table)).numpy()

    kernel = shap.KernelExplainer(of, other.numpy()).shap_values(x.numpy(), nsamples=1000, l1_reg=False, silent=True)
    found = {"kernel_shap": kernel[np.arange(4), :, TARGETS.numpy()]}
    torch.manual_seed(0)
    asked = {"baselines": other, "target": TARGETS}
    found["shapley_values"] = ShapleyValues(net).attribute(x, **asked)
    found["shapley_sampling"] = ShapleyValueSampling(net).attribute(x, n_samples=2000, **asked)
    found["feature_ablation"] = FeatureAblation(net).attribute(x, **asked)
    found["conductance"] = LayerConductance(net, net[1]).attribute(x, n_steps=2000, method="riemann_middle", **asked)
    return {name: np.asarray(value.detach() if isinstance(value, torch.Tensor) else value) for name, value in found.items()}


def grad_cam() -> dict:
    """The CAM family on the second convolution: before ReLU, scaling and upsampling where the package gives it."""
    stand_in()
    import pytorch_grad_cam as p
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(int(t)) for t in TARGETS]
    kinds = {"grad_cam": p.GradCAM, "grad_cam_plus_plus": p.GradCAMPlusPlus, "xgrad_cam": p.XGradCAM, "hires_cam": p.HiResCAM,
             "layer_cam": p.LayerCAM, "eigen_cam": p.EigenCAM, "score_cam": p.ScoreCAM}  # fmt: skip
    found = {}
    for name, kind in kinds.items():
        net = models.plain_cnn().float()
        cam = kind(model=net, target_layers=[net[3]])
        raw = {}
        inner = cam.get_cam_image

        def keep(*args, inner=inner, raw=raw, **kwargs):
            raw["map"] = np.asarray(inner(*args, **kwargs))
            return raw["map"]

        cam.get_cam_image = keep
        cam(input_tensor=models.images().float(), targets=targets)
        found[name] = raw["map"]
    return found


class _Table(dict):
    """lxt leaves a plain dictionary; this version of transformers asks it by a method."""

    def get_interface(self, name, default):
        return self.get(name, default)


def lxt() -> dict:
    """AttnLRP on tiny decoders: relevance of the embeddings for the logit of a token at the last position."""
    from transformers import pytorch_utils
    from transformers.models.gpt2 import modeling_gpt2
    from transformers.models.llama import modeling_llama

    stand_in()
    for gone in ("find_pruneable_heads_and_indices", "prune_linear_layer"):  # lxt asks for them, for models not used here
        if not hasattr(pytorch_utils, gone):
            setattr(pytorch_utils, gone, None)
    from lxt.efficient import monkey_patch

    found = {}
    for family, module in (("gpt2", modeling_gpt2), ("llama", modeling_llama)):
        monkey_patch(module)
        module.ALL_ATTENTION_FUNCTIONS = _Table(module.ALL_ATTENTION_FUNCTIONS)
        net = models.decoder(family)
        leaf = net.get_input_embeddings()(models.ids()).detach().requires_grad_(True)
        logits = net(inputs_embeds=leaf, use_cache=False).logits[:, -1]
        chosen = logits[torch.arange(4), TARGETS]
        found[family] = (leaf * torch.autograd.grad(chosen.sum(), leaf)[0]).detach().numpy()
        found[f"{family}_logits"] = logits.detach().numpy()
    return found


def judge() -> dict:
    """Measures of captum and quantus on given maps, changes and moves."""
    stand_in()
    import quantus
    from captum.metrics import infidelity, sensitivity_max

    g = np.random.default_rng(0)
    net, x = models.grey_cnn(), models.images()[:, :1]
    maps, changes = g.normal(size=(4, 1, 12, 12)), g.normal(0, 0.3, size=(6, 4, 1, 12, 12))
    mask = np.zeros((4, 1, 12, 12), dtype=bool)
    mask[:, :, 2:7, 3:8] = True
    found = {"maps": maps, "changes": changes, "mask": mask}
    repeated = torch.tensor(changes).transpose(0, 1).flatten(0, 1)  # captum repeats each example in place

    def moved(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return repeated, inputs - repeated

    @torch.enable_grad()
    def slope(inputs: tuple[torch.Tensor, ...] | torch.Tensor) -> tuple[torch.Tensor, ...]:
        leaf = (inputs[0] if isinstance(inputs, tuple) else inputs).detach().requires_grad_(True)
        rows = TARGETS.repeat_interleave(len(leaf) // len(TARGETS))
        return torch.autograd.grad(net(leaf)[torch.arange(len(leaf)), rows].sum(), leaf)

    options = {"target": TARGETS, "n_perturb_samples": len(changes)}
    for name, scaled in (("infidelity", False), ("infidelity_scaled", True)):
        found[name] = infidelity(net, moved, x, torch.tensor(maps), normalize=scaled, **options).numpy()
    found["sensitivity_max"] = sensitivity_max(
        slope, x, lambda inputs, perturb_radius: inputs + 0.1 * repeated, n_perturb_samples=len(changes)
    ).numpy()

    given = {"model": net.float(), "x_batch": x.float().numpy(), "y_batch": TARGETS.numpy(), "device": "cpu"}
    options = {"normalise": False, "display_progressbar": False, "disable_warnings": True}
    signed, positive = maps.astype(np.float32), np.abs(maps).astype(np.float32)
    found["pixel_flipping"] = quantus.PixelFlipping(features_in_step=12, perturb_baseline="black", abs=False, **options)(
        **given, a_batch=signed)  # fmt: skip
    for name in ("RelevanceMassAccuracy", "RelevanceRankAccuracy", "PointingGame"):
        found[name] = getattr(quantus, name)(abs=False, **options)(**given, a_batch=positive, s_batch=mask)
    for name in ("Sparseness", "Complexity"):
        found[name] = getattr(quantus, name)(abs=True, **options)(**given, a_batch=signed)
    return found


if __name__ == "__main__":
    main()
