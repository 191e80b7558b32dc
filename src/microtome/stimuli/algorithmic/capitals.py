"""Recall of an attribute: "the capital of France is" -> Paris, in a closed vocabulary of twelve facts."""

import numpy as np

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.task import Task

FACTS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima",
    "Kenya": "Nairobi", "Norway": "Oslo", "Cuba": "Havana", "Ghana": "Accra", "Iran": "Tehran", "Greece": "Athens",
}  # fmt: skip
TEMPLATES = (
    "the capital of {x} is",
    "people say that the capital of {x} is called",
    "in {x} , the capital is",
    "of {x} we know the capital : it is",
)
WORDS = tuple(sorted({word for template in TEMPLATES for word in template.split() if "{" not in word}))


def recall(n: int, seed: int = 0) -> Task:
    """Draw `n` prompts that ask for a country's capital; the corrupt prompt asks for another country's.

    Parameters
    ----------
    n : number of prompts.
    seed : random stream.

    Returns
    -------
    Task of kind "text" with roles "subject" and "end"; the template's number as group. Clean and corrupt prompts have
    the same words but one, so tokens align (symmetric token replacement).

    Raises
    ------
    UsageError
        `n` < 1.

    Notes
    -----
    Null: a model that ignores the country has mean logit difference 0.
    Misleads when prompts of one country are taken as independent: there are only 12.

    Examples
    --------
    >>> task = recall(3)
    >>> all(FACTS[c] == a for c, a in ((t[s:e], a) for t, (s, e), a in zip(task.clean, task.roles["subject"], task.answers)))
    True
    """
    if n < 1:
        raise UsageError(f"recall needs n >= 1, got {n}.")
    generator = rng(seed, "recall")
    subject = generator.integers(0, len(FACTS), n)
    other = (subject + generator.integers(1, len(FACTS), n)) % len(FACTS)
    return _task(subject, other, generator.integers(0, len(TEMPLATES), n))


def recall_all() -> Task:
    """Every prompt there is: 12 x 11 ordered pairs of countries, four templates (528)."""
    k = len(FACTS)
    rows = np.array([(i, j, t) for i in range(k) for j in range(k) if i != j for t in range(len(TEMPLATES))])
    return _task(rows[:, 0], rows[:, 1], rows[:, 2])


def _task(subject: np.ndarray, other: np.ndarray, template: np.ndarray) -> Task:
    countries, capitals = list(FACTS), list(FACTS.values())
    clean = [TEMPLATES[t].format(x=countries[i]) for t, i in zip(template, subject)]
    starts = [TEMPLATES[t].index("{x}") for t in template]
    return Task(
        "recall",
        clean,
        [TEMPLATES[t].format(x=countries[i]) for t, i in zip(template, other)],
        answers=[capitals[i] for i in subject],
        wrong=[capitals[i] for i in other],
        roles={
            "subject": [(at, at + len(countries[i])) for at, i in zip(starts, subject)],
            "end": [(text.rindex(" ") + 1, len(text)) for text in clean],
        },
        groups=[int(t) for t in template],
        notes="Groups are templates.",
    )
