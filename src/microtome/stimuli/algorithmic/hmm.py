"""Emissions of a hidden Markov model, with the exact belief over its states after each token."""

from dataclasses import dataclass

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli


@dataclass(frozen=True, eq=False)
class HiddenMarkov:
    """A hidden Markov model by its joint matrices.

    joint[v, i, j] = P(emit v and go to state j | state i). The initial state has the stationary distribution.
    """

    joint: np.ndarray
    """float64 [tokens, states, states]; joint.sum((0, 2)) is 1 for every state."""

    @property
    def stationary(self) -> np.ndarray:
        """The distribution over states that the chain keeps [states]."""
        chain = self.joint.sum(0)
        values, vectors = np.linalg.eig(chain.T)
        vector = np.real(vectors[:, np.argmin(np.abs(values - 1))])
        return vector / vector.sum()

    def beliefs(self, tokens: np.ndarray) -> np.ndarray:
        """P(state | tokens so far) after each token [n, length, states]: the forward algorithm, normalised."""
        belief = np.tile(self.stationary, (len(tokens), 1))
        out = np.empty((*tokens.shape, belief.shape[1]))
        for t in range(tokens.shape[1]):
            belief = np.einsum("ni,nij->nj", belief, self.joint[tokens[:, t]])
            belief /= belief.sum(1, keepdims=True)
            out[:, t] = belief
        return out

    def predictive(self, tokens: np.ndarray) -> np.ndarray:
        """P(next token | tokens so far) after each token [n, length, tokens]: what the best predictor says."""
        return self.beliefs(tokens) @ self.joint.sum(2).T


def mess3(spread: float = 0.15, clarity: float = 0.6) -> HiddenMarkov:
    """Three states, three tokens; beliefs form a fractal in the triangle.

    Parameters
    ----------
    spread : probability of moving to each of the other two states, in (0, 0.5).
    clarity : probability that a state emits its own token, in (1/3, 1).

    >>> bool(np.allclose(mess3().joint.sum((0, 2)), 1))
    True

    References
    ----------
    Marzen and Crutchfield (2017); Shai et al. (2024), "Transformers represent belief state geometry", arXiv:2405.15943.
    """
    if not (0.0 < spread < 0.5 and 1 / 3 < clarity < 1.0):
        raise UsageError(f"mess3 needs spread in (0, 0.5) and clarity in (1/3, 1); got {spread}, {clarity}.")
    move = np.full((3, 3), spread) + (1 - 3 * spread) * np.eye(3)
    emit = np.full((3, 3), (1 - clarity) / 2) + (clarity - (1 - clarity) / 2) * np.eye(3)
    # Shai et al.: the token depends on the state that the step arrives at.
    return HiddenMarkov(move[None] * emit.T[:, None, :])


def emissions(n: int, seed: int = 0, *, length: int = 32, model: HiddenMarkov | None = None) -> Stimuli:
    """Draw `n` token sequences from a hidden Markov model.

    Parameters
    ----------
    n : sequences.
    seed : random stream.
    length : tokens per sequence.
    model : the source; default `mess3()`.

    Returns
    -------
    Stimuli of kind "vector": inputs LongTensor [n, length] of token ids; table column state (hidden state at the end).

    Raises
    ------
    UsageError
        Sizes below 1.

    Notes
    -----
    Null: tokens in shuffled order carry no more than their frequencies.
    Misleads when a predictor's loss is compared with 0: the floor is `predictive`'s own entropy.

    Examples
    --------
    >>> s = emissions(2, length=5)
    >>> mess3().beliefs(s.inputs.numpy()).shape
    (2, 5, 3)
    """
    if min(n, length) < 1:
        raise UsageError(f"emissions needs n, length >= 1; got {n}, {length}.")
    import pandas as pd

    model = mess3() if model is None else model
    states = model.joint.shape[1]
    generator = rng(seed, "emissions")
    # One table of (token, next state) per state, inverted at a uniform draw.
    cumulative = model.joint.transpose(1, 0, 2).reshape(states, -1).cumsum(1)
    state = np.searchsorted(model.stationary.cumsum()[:-1], generator.random(n), side="right")
    out = np.empty((n, length), dtype=np.int64)
    for t in range(length):
        u = generator.random((n, 1))
        choice = (u >= cumulative[state, :-1]).sum(1)
        out[:, t], state = np.divmod(choice, states)
    return Stimuli(torch.from_numpy(out), pd.DataFrame({"state": state}), kind="vector", name="hmm-emissions")
