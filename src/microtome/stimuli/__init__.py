"""Stimuli: what is shown to a subject: token streams, contrast pairs, images, generated worlds, tasks, causal models."""

from microtome.stimuli.causal import CausalModel, Counterfactual
from microtome.stimuli.interchange_pairs import Interchanges
from microtome.stimuli.interchange_sampler import interchanges
from microtome.stimuli.loaders import agreement, greater_than, images, pairs, texts
from microtome.stimuli.metrics import METRICS
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task

__all__ = [
    "METRICS",
    "CausalModel",
    "Counterfactual",
    "Interchanges",
    "Stimuli",
    "Task",
    "agreement",
    "greater_than",
    "images",
    "interchanges",
    "pairs",
    "texts",
]
