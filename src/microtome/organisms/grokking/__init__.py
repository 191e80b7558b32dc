"""A one-layer transformer that learned (a + b) mod p beyond the pairs it was shown."""

from microtome.organisms.grokking.organism import GrokkingTruth, build, examples, from_public, train

__all__ = ["GrokkingTruth", "build", "examples", "from_public", "train"]
