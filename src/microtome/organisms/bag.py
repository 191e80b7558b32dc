"""A classifier of texts by the mean of learned word vectors: small enough that its reasons are its words."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from microtome.organisms.fit import fit, seeded
from microtome.rng import torch_rng

UNKNOWN = 0


class BagOfWords(nn.Module):
    """Embeddings, their mean over words, a hidden layer, classes; called with texts it gives probabilities.

    Examples
    --------
    >>> BagOfWords(["a b"], classes=2)(["a", "b b"]).shape
    (2, 2)
    """

    def __init__(self, texts: Sequence[str], *, classes: int, width: int = 16):
        super().__init__()
        self.index = {word: i + 1 for i, word in enumerate(sorted({w for t in texts for w in t.split()}))}
        self.embed = nn.Embedding(len(self.index) + 2, width, padding_idx=len(self.index) + 1)
        self.rest = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, classes))

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Word ids [n, longest], padded at the end."""
        rows = [[self.index.get(w, UNKNOWN) for w in t.split()] for t in texts]
        longest, fill = max(1, *map(len, rows)), len(self.index) + 1
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    def logits(self, ids: Tensor) -> Tensor:
        """Class scores [n, classes]."""
        real = (ids != len(self.index) + 1)[..., None]
        return self.rest((self.embed(ids) * real).sum(1) / real.sum(1).clamp(min=1))

    def forward(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities [n, classes]."""
        with torch.no_grad():
            return self.logits(self.ids(texts)).softmax(1).numpy()


def bag_of_words(texts: Sequence[str], labels: np.ndarray, *, steps: int = 200, seed: int = 0) -> BagOfWords:
    """A trained classifier."""
    net = seeded(lambda: BagOfWords(texts, classes=int(labels.max()) + 1), seed, "bag of words")
    ids, y, g = net.ids(texts), torch.tensor(labels), torch_rng(seed, "bag of words")

    def loss(_: int) -> Tensor:
        rows = torch.randint(len(y), (64,), generator=g)
        return nn.functional.cross_entropy(net.logits(ids[rows]), y[rows])

    fit(net, loss, steps, lr=0.02)
    return net
