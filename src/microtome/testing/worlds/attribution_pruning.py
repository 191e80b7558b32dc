"""The world of attribution_pruning: of each layer of a perceptron, the units that hand the classes on must stay."""

from typing import Any

from sklearn.metrics import roc_auc_score

from microtome.errors import UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.testing.worlds.neuron_path import null, part, tiny

__all__ = ["null", "part", "refusals", "tiny", "truth"]


def truth(method: Method, result: Any, world: World) -> float:
    """Smallest AUROC of a layer's scores for its planted units."""
    planted = world.truth["units"]
    return min(
        float(roc_auc_score([u in set(planted[:, i].tolist()) for u in range(len(scores))], scores))
        for i, scores in enumerate(result.scores.values())
    )


def refusals(method: Method) -> list[Refusal]:
    """A site that is not there, all or none of the units."""
    return [
        *network_refusals(method),
        Refusal("all units", {"share": 1.0}, UsageError, "share"),
        Refusal("none kept", {"keep": 0}, UsageError, "keep"),
    ]
