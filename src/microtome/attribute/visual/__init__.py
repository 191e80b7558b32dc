"""Pictures made for a network: what is wanted (objectives), how a picture is written, how it is shaken, the climb."""

from microtome.attribute.visual.objectives import Objective, as_objective, channel, class_logit, direction, diversity
from microtome.attribute.visual.transforms import Transforms
from microtome.attribute.visual.visualisation import Visualisation

__all__ = [
    "Objective", "Transforms", "Visualisation", "as_objective", "channel", "class_logit", "direction", "diversity",
]  # fmt: skip
