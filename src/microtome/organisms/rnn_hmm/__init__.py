"""A GRU that predicts the tokens of a hidden Markov model, and so must carry the belief over its states."""

from microtome.organisms.rnn_hmm.organism import BeliefTruth, build, examples, train

__all__ = ["BeliefTruth", "build", "examples", "train"]
