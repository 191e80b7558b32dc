"""Worlds of `interaction_basis`: those of `lib`, whose next layer is the output."""

from microtome.testing.worlds.lib import null, refusals, strangers, tiny, truth

__all__ = ["null", "refusals", "strangers", "tiny", "truth"]
