"""Small networks with known insides: trained ones with shipped weights, compiled ones, and plants in your own."""

from microtome.organisms.registry import Organism, build, names

__all__ = ["Organism", "build", "names"]
