"""How good is an attribution? Measures, tests with twins and retraining, axioms, and methods side by side."""

from microtome.attribute.judge.axioms import axiom_card
from microtome.attribute.judge.complexity import entropy, gini
from microtome.attribute.judge.curves import Curves, perturbation_curves
from microtome.attribute.judge.end_tasks import Answers, counterexample, decides, local_trend, recourse, reliance
from microtome.attribute.judge.evaluate import Evaluation, evaluate, random_map
from microtome.attribute.judge.infidelity import infidelity
from microtome.attribute.judge.localisation import pointing_game, relevance_mass, relevance_rank
from microtome.attribute.judge.measures import MEASURES, Case, Measure
from microtome.attribute.judge.randomisation import Randomisation, mprt, mprt_independent, random_logit
from microtome.attribute.judge.retraining import Retrained, diffroar, roar
from microtome.attribute.judge.robustness import local_lipschitz, max_sensitivity
from microtome.attribute.judge.roles import role_masks

__all__ = [
    "MEASURES", "Answers", "Case", "Curves", "Evaluation", "Measure", "Randomisation", "Retrained", "axiom_card",
    "counterexample", "decides", "diffroar", "entropy", "evaluate", "gini", "infidelity", "local_lipschitz", "local_trend",
    "max_sensitivity", "mprt", "mprt_independent", "perturbation_curves", "pointing_game", "random_logit", "random_map",
    "recourse", "relevance_mass", "relevance_rank", "reliance", "roar", "role_masks",
]  # fmt: skip
