"""The language world: a generated corpus of known behaviours, with the truth about every word."""

from microtome.stimuli.language.behaviours import BEHAVIOURS
from microtome.stimuli.language.world import behaviour, corpus, properties, task, tasks, vocabulary

__all__ = ["BEHAVIOURS", "behaviour", "corpus", "properties", "task", "tasks", "vocabulary"]
