"""Why this output: attributions to inputs and sites, and tests of what they claim."""

from microtome.attribute.ablation_cam import ablation_cam
from microtome.attribute.activation_pattern import pattern_logits
from microtome.attribute.attribution import Attribution, merge
from microtome.attribute.cam import heatmap
from microtome.attribute.conductance import conductance
from microtome.attribute.deconvnet import deconvnet
from microtome.attribute.deeplift import deeplift
from microtome.attribute.deletion_test import deletion_test
from microtome.attribute.eigen_cam import eigen_cam
from microtome.attribute.excitation_pullback import excitation_pullback
from microtome.attribute.feature_ablation import feature_ablation
from microtome.attribute.grad_cam import grad_cam
from microtome.attribute.gradient import gradient
from microtome.attribute.guided_backprop import guided_backprop
from microtome.attribute.guided_grad_cam import guided_grad_cam
from microtome.attribute.hsic import hsic
from microtome.attribute.iia import iia
from microtome.attribute.imputers import ConditionalGaussian, Others
from microtome.attribute.integrated_gradients import integrated_gradients
from microtome.attribute.integrated_jacobians import integrated_jacobians
from microtome.attribute.kernel_shap import kernel_shap
from microtome.attribute.lime import lime
from microtome.attribute.lrp import lrp
from microtome.attribute.occlusion import occlusion
from microtome.attribute.permutation import permutation
from microtome.attribute.pruning_order import pruning_order
from microtome.attribute.rise import rise
from microtome.attribute.score_cam import score_cam
from microtome.attribute.shapley_sampling import shapley_sampling
from microtome.attribute.simulatability import Simulatability, simulatability
from microtome.attribute.smoothgrad import smoothgrad
from microtome.attribute.sobol import sobol
from microtome.attribute.srd import srd
from microtome.attribute.unit_relevance import removal_order, unit_relevance
from microtome.attribute.vargrad import vargrad

__all__ = [
    "Attribution",
    "ConditionalGaussian",
    "Others",
    "Simulatability",
    "ablation_cam",
    "conductance",
    "deconvnet",
    "deeplift",
    "deletion_test",
    "eigen_cam",
    "excitation_pullback",
    "feature_ablation",
    "grad_cam",
    "gradient",
    "guided_backprop",
    "guided_grad_cam",
    "heatmap",
    "hsic",
    "iia",
    "integrated_gradients",
    "integrated_jacobians",
    "kernel_shap",
    "lime",
    "lrp",
    "merge",
    "occlusion",
    "pattern_logits",
    "permutation",
    "pruning_order",
    "removal_order",
    "rise",
    "score_cam",
    "shapley_sampling",
    "simulatability",
    "smoothgrad",
    "sobol",
    "srd",
    "unit_relevance",
    "vargrad",
]
