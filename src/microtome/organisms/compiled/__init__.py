"""Organisms whose weights are written by construction, so that the circuit is known exactly."""

from microtome.organisms.compiled.model import CompiledConfig, CompiledTransformer

__all__ = ["CompiledConfig", "CompiledTransformer"]
