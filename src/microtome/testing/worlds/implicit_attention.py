"""Worlds of `implicit_attention`: those of `attention_rollout`."""

from microtome.testing.worlds.attention_rollout import null, tiny, truth

__all__ = ["null", "tiny", "truth"]
