"""Small English behaviours and word classes for models of which nothing is known: what to try first."""

import re
from collections.abc import Sequence

from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task

#: Word classes that a pattern can mark in English text; each is a property of the recording.
PATTERNS = {
    "name": r"(?<=[a-z,] )[A-Z][a-z]+",
    "sentence start": r"(?:(?<=[.!?] )|(?<=[.!?]\n)|(?<=^))[A-Z][a-z]*",
    "end of sentence": r"[.!?]",
    "comma": r",",
    "quotation mark": r"[\"“”]",
    "inside quotation": r"(?<=\")[^\"]+(?=\")",
    "digit": r"\d+",
    "pronoun he, him, his": r"\b(?:[Hh]e|[Hh]im|[Hh]is)\b",
    "pronoun she, her": r"\b(?:[Ss]he|[Hh]er|[Hh]ers)\b",
    "pronoun they, them": r"\b(?:[Tt]hey|[Tt]hem|[Tt]heir)\b",
    "article": r"\b(?:[Aa]|[Aa]n|[Tt]he)\b",
    "and, but, or": r"\b(?:[Aa]nd|[Bb]ut|[Oo]r)\b",
    "preposition": r"\b(?:in|on|at|to|of|from|with|for|into|under)\b",
    "word in -ed": r"\b[a-z]{2,}ed\b",
    "word in -ing": r"\b[a-z]{2,}ing\b",
    "negation": r"\b(?:not|no|never|n't|nothing)\b|n't\b",
    "was, were, is, are": r"\b(?:was|were|is|are)\b",
    "said, asked": r"\b(?:said|asked|told)\b",
}


def marked(texts: Sequence[str], name: str = "texts") -> Stimuli:
    """Texts with the word classes of `PATTERNS` marked as spans.

    >>> marked(["Tom ran. He saw Lily, and smiled."]).properties[:3]
    ['and, but, or', 'comma', 'end of sentence']
    """
    compiled = {k: re.compile(v) for k, v in PATTERNS.items()}
    spans = [(i, m.start(), m.end(), prop) for i, text in enumerate(texts) for prop, pattern in compiled.items()
             for m in pattern.finditer(text) if m.end() > m.start()]  # fmt: skip
    return Stimuli(list(texts), spans=spans, name=name)


def pronouns() -> Task:
    """Which pronoun follows a girl named Lily, or a boy named Tim: 30 pairs of prompts of a children's story."""
    clean, corrupt, answers, wrong, groups = [], [], [], [], []
    starts = ("Once upon a time, there was a", "One day, a", "There was a", "In a big house, there was a", "Every day, a",
              "There once was a")  # fmt: skip
    for i, (start, word) in enumerate((s, w) for s in starts for w in ("", " little", " happy", " big", " sad")):
        girl, boy = f"{start}{word} girl named Lily.", f"{start}{word} boy named Tim."
        clean += [girl, boy]
        corrupt += [boy, girl]
        answers += [" She", " He"]
        wrong += [" He", " She"]
        groups += [i, i]
    return Task("pronoun", clean, corrupt, answers, wrong, groups=groups, notes="She after a girl, He after a boy.")
