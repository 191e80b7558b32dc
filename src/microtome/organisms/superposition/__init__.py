"""The toy model of superposition: 20 sparse features in 6 dimensions."""

from microtome.organisms.superposition.many import train_many
from microtome.organisms.superposition.organism import (
    SuperpositionTruth,
    ToySuperposition,
    build,
    examples,
    train,
    train_instances,
    train_on,
)

__all__ = [
    "SuperpositionTruth",
    "ToySuperposition",
    "build",
    "examples",
    "train",
    "train_instances",
    "train_many",
    "train_on",
]
