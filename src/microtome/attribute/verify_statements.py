"""Statements about a classifier, put to the test: each becomes a word, an intervention and an interval."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from microtome.errors import Degenerate, FormatError, NonFinite, ShapeError, UsageError
from microtome.evidence import Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import rng

#: The statements that can be tested: "mentions of WORD raise (or lower) CLASS".
PATTERN = re.compile(r"mentions? of ['\"]?([\w-]+)['\"]? (raises?|lowers?) ['\"]?([\w -]+?)['\"]?\.?$", re.IGNORECASE)
#: Probabilities nearer to 0 or 1 than this count as this far.
TINY = 1e-9


@dataclass(frozen=True)
class Statement:
    """One testable sentence: which word, which class (by index), and whether it raises it."""

    text: str
    word: str
    label: int
    raises: bool


@method(
    question="attribute",
    paper=Paper("Singh, Inala, Galley, Caruana, Gao", 2024, "Rethinking Interpretability in the Era of Large Language Models",
                "https://arxiv.org/abs/2402.01761"),
    needs=("pipeline",),
    gives="Finding",
    stochastic=True,
    cost="2 predictions per text and statement, and as many for the null",
    claim="Statements of a language model about a classifier can be told from inventions by intervening on what they speak of.",
    notion="post-hoc",
    serves="trust",
    cannot_claim="That a supported statement is the reason in texts of another kind, or that unsupported ones are false at any "
    "size of effect.",
    skips={"bad_input": "it takes a function that predicts, not a network with weights",
           "batch": "a finding about all statements has no row per example"},
)  # fmt: skip
def verify_statements(
    predict: Callable[[Sequence[str]], Any],
    texts: Sequence[str],
    statements: Sequence[str],
    *,
    labels: Sequence[str] = ("negative", "positive"),
    least: float = 0.3,
    draws: int = 99,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Put the word of each statement into texts and take it out, and see whether its class moves as the statement says.

    ``effect = mean(o_c(x with the word) - o_c(x without it))``, o_c = log p_c / (1 - p_c), turned round for statements of
    lowering; a text that has the word loses it, one that has not gets it at a random place. Supported: the lower end of the
    interval is above `least`. Log-odds, since probabilities hardly move in texts whose label is certain.

    Parameters
    ----------
    predict : callable
        Texts -> probabilities [n, classes].
    texts : sequence of str
        Held-out texts, on which statements are tested.
    statements : sequence of str
        "mentions of WORD raise CLASS" or "... lower CLASS", from a language model or a person.
    labels : sequence of str
        Names of the classes.
    least : float, default 0.3
        Smallest effect, in nats, that counts.
    draws : int, default 99
        Of the null.
    alpha : float, default 0.05
        Intervals hold 1 - alpha.
    seed : int, default 0

    Returns
    -------
    Finding
        Table, one row per statement: statement, word, class, raises, effect, low, high, verdict ("supported", "refuted", or
        "unreadable" for what is no such sentence). Estimate: mean effect of the readable statements. Null: the same directions
        for words of the texts drawn at random. Control: share supported.

    Raises
    ------
    UsageError, ShapeError, NonFinite
    Degenerate
        With fewer than three texts, or without a readable statement.

    Notes
    -----
    Null: for a classifier that learned nothing effects are small, and all statements are refuted.
    Misleads when words stand for each other (the classifier saw them together): putting one in alone is off the data.

    Examples
    --------
    >>> from microtome.stimuli.reviews import reviews
    >>> from microtome.testing.worlds.llm_counterfactual import tone
    >>> said = ["Mentions of lovely raise positive.", "mentions of garden lower positive", "The weather is fine."]
    >>> verify_statements(tone, reviews(20)[0], said).table["verdict"].tolist()
    ['supported', 'refuted', 'unreadable']

    References
    ----------
    Singh, Inala, Galley, Caruana, Gao (2024). Rethinking Interpretability in the Era of Large Language Models.
    https://arxiv.org/abs/2402.01761
    """
    import pandas as pd

    texts = list(texts)
    if len(texts) < 3 or not all(isinstance(t, str) and t.split() for t in texts):
        raise Degenerate(f"effects need three texts with words, got {len(texts)}.")
    if not least >= 0:
        raise UsageError(f"least must be at least 0, got {least!r}.")
    read = [readable(s, labels) for s in statements]
    if not any(read):
        raise Degenerate("no statement can be read; write them as 'mentions of WORD raise CLASS' with a class of labels.")
    rows, effects = [], []
    for text, said in zip(statements, read):
        row = {"statement": str(text), "word": "", "class": "", "raises": False, "effect": 0.0, "low": 0.0, "high": 0.0,
               "verdict": "unreadable"}  # fmt: skip
        if said is not None:
            each = _effects(predict, texts, said, len(labels), rng(seed, "place", said.word))
            found = bootstrap(each, seed=seed, level=1 - alpha)
            verdict = "supported" if found.low is not None and found.low > least else "refuted"
            row |= {"word": said.word, "class": labels[said.label], "raises": said.raises, "effect": found.value,
                    "low": found.low, "high": found.high, "verdict": verdict}  # fmt: skip
            effects.append(found.value)
        rows.append(row)
    pool, stream = sorted({w for t in texts for w in t.split()}), rng(seed, "other words")
    sayings = [said for said in read if said is not None]
    words = {w: _effects(predict, texts, Statement("", w, sayings[0].label, True), len(labels), rng(seed, "place", w)).mean()
             for w in (str(stream.choice(pool)) for _ in range(min(draws, len(pool))))}  # fmt: skip
    values, turns = np.array(list(words.values())), np.array([1.0 if said.raises else -1.0 for said in sayings])
    by_chance = [float((stream.choice(values, len(turns)) * turns).mean()) for _ in range(draws)]
    estimate = bootstrap(np.array(effects), seed=seed) if len(effects) > 2 else None
    supported = float(np.mean([row["verdict"] == "supported" for row in rows]))
    return Finding(
        "the statements hold under intervention", estimate=estimate,
        nulls=(Null("words drawn at random", by_chance, float(np.mean(effects)), "greater"),),
        controls={"share supported": supported}, table=pd.DataFrame(rows), alpha=alpha, provenance=Provenance(seed=seed),
    )  # fmt: skip


def readable(statement: str, labels: Sequence[str]) -> Statement | None:
    """The statement as a word and a class, or None when it is no such sentence."""
    try:
        return parsed(statement, labels)
    except FormatError:
        return None


def parsed(statement: str, labels: Sequence[str]) -> Statement:
    """Read one sentence.

    Raises
    ------
    FormatError
        When it is not of the form, or names no class.
    """
    found = PATTERN.search(str(statement).strip())
    if found is None:
        raise FormatError(f"not of the form 'mentions of WORD raise CLASS': {str(statement)[:80]!r}.")
    word, verb, name = found.groups()
    known = [label.lower() for label in labels]
    label = name.lower().removeprefix("class ").strip()
    if label not in known:
        raise FormatError(f"no class {name!r}; known: {list(labels)}.")
    return Statement(str(statement), word.lower(), known.index(label), verb.lower().startswith("raise"))


def _effects(
    predict: Callable[[Sequence[str]], Any], texts: Sequence[str], said: Statement, classes: int, stream: np.random.Generator
) -> np.ndarray:
    """Change of the class's log-odds by the word in each text [n], in the direction of the statement."""
    having, lacking = [], []
    for text in texts:
        words = text.split()
        bare = [w for w in words if w.lower() != said.word]
        at = int(stream.integers(len(words) + 1))
        having.append(text if len(bare) < len(words) else " ".join([*words[:at], said.word, *words[at:]]))
        lacking.append(" ".join(bare))
    found = [np.asarray(predict(part), dtype=float) for part in (having, lacking)]
    for one in found:
        if one.shape != (len(texts), classes):
            raise ShapeError(f"predict must give probabilities [{len(texts)}, {classes}], got {list(one.shape)}.")
        if not np.isfinite(one).all():
            raise NonFinite("predict gives NaN or infinity.")
    having_it, lacking_it = (np.log(p / (1 - p)) for p in (one[:, said.label].clip(TINY, 1 - TINY) for one in found))
    return having_it - lacking_it if said.raises else lacking_it - having_it
