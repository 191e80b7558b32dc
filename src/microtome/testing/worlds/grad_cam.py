"""The world of grad_cam: patterns in pictures."""

from microtome.testing.planted_spots import null, part, refusals, tiny, truth

__all__ = ["null", "part", "refusals", "tiny", "truth"]
