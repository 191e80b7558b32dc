"""Why this output: attributions to inputs and sites, and tests of what they claim."""

from microtome.attribute.attribution import Attribution, merge
from microtome.attribute.deletion_test import deletion_test
from microtome.attribute.gradient import gradient
from microtome.attribute.integrated_gradients import integrated_gradients
from microtome.attribute.occlusion import occlusion
from microtome.attribute.simulatability import Simulatability, simulatability

__all__ = [
    "Attribution", "Simulatability", "deletion_test", "gradient", "integrated_gradients", "merge", "occlusion",
    "simulatability",
]
