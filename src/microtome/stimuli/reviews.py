"""Reviews from templates: the adjectives say whether it was liked, the topic says nothing."""

import numpy as np

from microtome.errors import UsageError
from microtome.rng import rng

POSITIVE = ("wonderful", "splendid", "lovely", "superb", "charming", "brilliant", "delightful", "excellent")
NEGATIVE = ("awful", "dreadful", "dull", "terrible", "boring", "clumsy", "horrid", "tiresome")
TOPICS = ("film", "book", "meal", "hotel", "concert", "garden", "lecture", "journey")
PLACES = ("city", "village", "station", "harbour", "market", "school")
_TEMPLATES = (
    "we saw the {topic} in the {place} and it was {first} and {second}",
    "a {first} {topic} near the {place} that all of us found {second}",
    "the {topic} was {first} , said my friend from the {place} , and truly {second}",
    "after the {place} came a {first} and rather {second} {topic} for everyone",
)


def reviews(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts, and their labels [n]: 1 liked, 0 not.

    Examples
    --------
    >>> texts, labels = reviews(2, seed=0)
    >>> [sum(w in (*POSITIVE, *NEGATIVE) for w in t.split()) for t in texts], labels.shape
    ([2, 2], (2,))
    """
    if n < 1:
        raise UsageError(f"reviews needs n > 0, got {n}.")
    draw = rng(seed, "reviews")
    labels = draw.integers(0, 2, n)
    texts = []
    for label in labels:
        first, second = draw.choice(POSITIVE if label else NEGATIVE, 2, replace=False)
        template = _TEMPLATES[int(draw.integers(len(_TEMPLATES)))]
        texts.append(template.format(topic=draw.choice(TOPICS), place=draw.choice(PLACES), first=first, second=second))
    return texts, labels
