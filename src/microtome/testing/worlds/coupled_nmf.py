"""The world of coupled_nmf: planted factors at two sites."""

from microtome.testing.planted_sites import null, refusals, strangers, tiny, truth

__all__ = ["null", "refusals", "strangers", "tiny", "truth"]
