"""Recordings whose units are known statements about tokens."""

import numpy as np
import torch

from microtome.rng import rng
from microtome.subject.recording import Recording

WORDS = [
    " the", " a", " cat", " dog", " ran", " sat", ".", ",", " 12", "7", " Mary", " John", " running", " walking", "\n", '"',
]  # fmt: skip
DOCUMENTS, LENGTH = 60, 40


def corpus(seed: int, documents: int = DOCUMENTS, length: int = LENGTH) -> tuple[dict, list[str]]:
    """Index of random documents (token ids and places), and the text of each row."""
    draw = rng(seed, "describe corpus")
    weights = np.linspace(2, 1, len(WORDS))
    ids = draw.choice(len(WORDS), size=documents * length, p=weights / weights.sum())
    index = {"sample": np.repeat(np.arange(documents), length), "position": np.tile(np.arange(length), documents), "token": ids}
    return index, [WORDS[i] for i in ids]


def planted(seed: int, documents: int = DOCUMENTS, noise: float = 0.3) -> tuple[Recording, list[np.ndarray]]:
    """Six units and where each fires, each said without the package's predicates.

    0: " cat" or " dog"; 1: " the" after "," or "."; 2: digits; 3: a token seen before in the document; 4: noise;
    5: falls on ".".
    """
    index, texts = corpus(seed, documents)
    count = len(texts)
    first = index["position"] == 0
    where = [
        np.array([t in (" cat", " dog") for t in texts]),
        np.array([not first[i] and texts[i] == " the" and texts[i - 1] in (",", ".") for i in range(count)]),
        np.array([any(c in "0123456789" for c in t) for t in texts]),
        np.array([texts[i] in texts[i - index["position"][i] : i] for i in range(count)]),
        np.zeros(count, dtype=bool),
        np.array([t == "." for t in texts]),
    ]
    draw = rng(seed, "describe noise")
    x = noise * draw.normal(size=(count, len(where)))
    for u, truth in enumerate(where):
        x[truth, u] += -2.0 if u == 5 else 2.0
    return Recording.of(torch.tensor(x, dtype=torch.float32), site="mlp", index=index), where
