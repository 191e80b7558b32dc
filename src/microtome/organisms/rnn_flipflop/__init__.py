"""A GRU that holds three bits: eight fixed points."""

from microtome.organisms.rnn_flipflop.organism import FlipFlopTruth, build, examples, train

__all__ = ["FlipFlopTruth", "build", "examples", "train"]
