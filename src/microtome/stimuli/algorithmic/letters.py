"""Induction: "<bos> k d r a d" -> r. The last token occurred before; the answer is what followed it then."""

import numpy as np

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.task import Task

LETTERS = tuple("abcdefghijklmnopqrstuvwx")


def repeats(n: int, seed: int = 0, *, length: int = 12) -> Task:
    """Draw `n` sequences of different letters that end with one of their own letters again.

    Parameters
    ----------
    n : number of sequences.
    seed : random stream.
    length : letters before the repeated one, 4 to 24.

    Returns
    -------
    Task of kind "text". The corrupt sequence repeats another of its letters, whose follower is the wrong answer. Roles:
    "previous" (the first occurrence), "source" (what followed it), "end" (the repeat).

    Raises
    ------
    UsageError
        `n` < 1 or `length` outside 4..24.

    Notes
    -----
    Null: letters are uniform, so a model without induction answers one time in 24 and has logit difference 0.
    Misleads when letters have meaning to the model: here they are arbitrary.

    Examples
    --------
    >>> task = repeats(1, seed=3, length=5)
    >>> letters = task.clean[0].split()
    >>> letters[letters.index(letters[-1]) + 1] == task.answers[0]
    True

    References
    ----------
    Olsson et al. (2022), "In-context Learning and Induction Heads", arXiv:2209.11895.
    """
    if n < 1 or not 4 <= length <= len(LETTERS):
        raise UsageError(f"repeats needs n >= 1 and length in 4..{len(LETTERS)}; got n={n}, length={length}.")
    generator = rng(seed, "repeats")
    codes = generator.permuted(np.tile(np.arange(len(LETTERS)), (n, 1)), axis=1)[:, :length]
    first = generator.integers(0, length - 1, n)
    second = (first + generator.integers(1, length - 1, n)) % (length - 1)
    texts = [[LETTERS[c] for c in row] for row in codes]
    return Task(
        "induction",
        [" ".join([*row, row[i]]) for row, i in zip(texts, first)],
        [" ".join([*row, row[i]]) for row, i in zip(texts, second)],
        answers=[row[i + 1] for row, i in zip(texts, first)],
        wrong=[row[i + 1] for row, i in zip(texts, second)],
        roles={
            "previous": [(int(2 * i), int(2 * i + 1)) for i in first],
            "source": [(int(2 * i + 2), int(2 * i + 3)) for i in first],
            "end": [(2 * length, 2 * length + 1)] * n,
        },
    )
