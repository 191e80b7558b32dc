"""A recurrent network that is a two-state automaton: the parity of the bits so far."""

from microtome.organisms.rnn_parity.organism import AutomatonTruth, build, examples, train

__all__ = ["AutomatonTruth", "build", "examples", "train"]
