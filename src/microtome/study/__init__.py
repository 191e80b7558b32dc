"""Studies: the main job from a subject to a report, and the folder that holds it."""

from microtome.study.pipeline import Study, study

__all__ = ["Study", "study"]
