"""Indirect objects: "Mary and John went to the shop . John gave a book to" -> Mary, in a closed vocabulary."""

import numpy as np

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.task import Task

NAMES = (
    "Ann", "Ben", "Carl", "Dora", "Emma", "Fred", "Gina", "Hugo",
    "Ida", "Jack", "Kate", "Liam", "Mary", "Noah", "Olga", "Paul",
)  # fmt: skip
TEMPLATES = (
    "{a} and {b} went to the shop . {s} gave a book to",
    "then {a} and {b} went to the park , and {s} gave the ring to",
    "{a} met {b} . later {s} gave a ring to",
    "at the park {a} met {b} , then {s} sent a letter to",
    "when {a} and {b} had lunch , {s} told a story to",
    "later {a} and {b} had a talk . then {s} gave the book to",
    "at lunch {a} and {b} met , and {s} sent the letter to",
    "the day {a} met {b} at the shop , {s} told the story to",
)
WORDS = tuple(sorted({word for template in TEMPLATES for word in template.split() if "{" not in word}))


def indirect_object(n: int, seed: int = 0) -> Task:
    """Draw `n` indirect-object prompts in eight templates and both name orders.

    The answer is the name that occurs once (the indirect object), the wrong answer the repeated subject. The corrupt
    prompt has the same template with three different names, none of them in the clean prompt.

    Parameters
    ----------
    n : number of prompts.
    seed : random stream.

    Returns
    -------
    Task of kind "text" with roles "io", "s1", "s2", "end" and the template's number as group.

    Raises
    ------
    UsageError
        `n` < 1.

    Notes
    -----
    Null: a model that ignores which name repeats has mean logit difference 0.
    Misleads when a model always prefers rare or first names: both orders occur equally often, so it averages out.

    Examples
    --------
    >>> task = indirect_object(2, seed=1)
    >>> start, end = task.roles["io"][0]
    >>> task.clean[0][start:end] == task.answers[0]
    True

    References
    ----------
    Wang et al. (2023), "Interpretability in the Wild", arXiv:2211.00593 (ABC corruption: section 3).
    """
    if n < 1:
        raise UsageError(f"indirect_object needs n >= 1, got {n}.")
    generator = rng(seed, "indirect_object")
    people = generator.permuted(np.tile(np.arange(len(NAMES)), (n, 1)), axis=1)[:, :5]
    return _task(people, generator.integers(0, len(TEMPLATES), n), generator.integers(0, 2, n))


def indirect_object_all() -> Task:
    """Every prompt there is: 16 x 15 pairs, eight templates, both orders (3,840)."""
    pairs = np.array([(i, j) for i in range(len(NAMES)) for j in range(len(NAMES)) if i != j])
    rows = np.array([(*pair, t, o) for pair in pairs for t in range(len(TEMPLATES)) for o in (0, 1)])
    others = (rows[:, :1] + 1 + np.cumsum(np.ones((len(rows), 4), dtype=int), axis=1)) % len(NAMES)
    free = np.where(others == rows[:, 1:2], (rows[:, :1] + 1) % len(NAMES), others)
    free = np.where(free == rows[:, 1:2], (rows[:, :1] + 6) % len(NAMES), free)
    return _task(np.concatenate([rows[:, :2], free[:, :3]], axis=1), rows[:, 2], rows[:, 3])


def _task(people: np.ndarray, templates: np.ndarray, orders: np.ndarray) -> Task:
    """People [n, 5]: indirect object, subject, and three strangers; order 0 puts the indirect object first."""
    clean, corrupt, roles = [], [], {role: [] for role in ("io", "s1", "s2", "end")}
    for (io, s, x, y, z), template, order in zip(people, templates, orders):
        words = TEMPLATES[template].split()
        first, second = ("io", "s1") if order == 0 else ("s1", "io")
        part = {"{a}": first, "{b}": second, "{s}": "s2"}
        name = {"io": NAMES[io], "s1": NAMES[s], "s2": NAMES[s]}
        at, shown = 0, []
        for i, word in enumerate(words):
            text = name[part[word]] if word in part else word
            if word in part or i == len(words) - 1:
                roles[part.get(word, "end")].append((at, at + len(text)))
            shown.append(text)
            at += len(text) + 1
        clean.append(" ".join(shown))
        corrupt.append(TEMPLATES[template].format(a=NAMES[x], b=NAMES[y], s=NAMES[z]))
    return Task(
        "indirect-object",
        clean,
        corrupt,
        answers=[NAMES[i] for i in people[:, 0]],
        wrong=[NAMES[i] for i in people[:, 1]],
        roles=roles,
        groups=[int(t) for t in templates],
        notes="Groups are templates. Corrupt prompts name three strangers (ABC).",
    )
