"""Token mixers as matrices: attention, Mamba, RWKV and gated linear recurrences, linearised exactly at one input.

A mixer is linear once everything that depends on the data is held (patterns, gates, step sizes, norms): its output at a
position is a sum of vectors, one per token, and a rest. Rollout, gradient-weighted attention, ALTI, implicit attention and
LaTIM are formulas on these sums.
"""

from microtome.attribute.mixers.layers import Layer, layers, linearised, mixings
from microtome.attribute.mixers.mixing import Mixing, closeness, norms, rollout, shares

__all__ = ["Layer", "Mixing", "closeness", "layers", "linearised", "mixings", "norms", "rollout", "shares"]
