"""Small networks with known insides: trained ones with shipped weights, compiled ones, and plants in your own."""

from microtome.organisms.planting import Place, Plant, plant, plant_direction, plant_neuron
from microtome.organisms.registry import Organism, build, names

__all__ = ["Organism", "Place", "Plant", "build", "names", "plant", "plant_direction", "plant_neuron"]
