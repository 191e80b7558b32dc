"""Counterfactuals from a language model: name what matters, find its words, change only those, and ask the classifier."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from microtome.attribute.counterfactual_prompts import (
    FEATURES,
    REWRITE,
    SPANS,
    Calls,
    Complete,
    edited_share,
    edited_words,
    parse_features,
    parse_rewrite,
    parse_spans,
)
from microtome.attribute.ends import counted
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.evidence import Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import rng

#: A black box: texts -> probabilities [n, classes].
Predict = Callable[[Sequence[str]], Any]


@method(
    question="attribute",
    paper=Paper("Bhattacharjee, Moraffah, Garland, Liu", 2023, "Towards LLM-guided Causal Explainability for Black-box Text "
                "Classifiers", "https://arxiv.org/abs/2309.13340"),
    needs=("pipeline",),
    gives="Finding",
    stochastic=True,
    cost="three calls of the language model per text, and retries; 2 (draws + 1) predictions per text",
    claim="A language model finds the words behind a label well enough that changing only those flips it.",
    notion="post-hoc",
    serves="causality",
    cannot_claim="That the latent feature is the cause: the language model explains the label as it reads it, and only the "
    "words that it changed were intervened on.",
    tiny={"draws": 19},
    skips={"bad_input": "it takes a function that predicts, not a network with weights",
           "batch": "a finding about all examples has no row per example"},
)  # fmt: skip
def llm_counterfactual(
    predict: Predict,
    texts: Sequence[str],
    complete: Complete,
    *,
    labels: Sequence[str] = ("negative", "positive"),
    retries: int = 3,
    budget: float = 0.5,
    draws: int = 39,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Ask a language model for the features behind a label, their words, and a text with only those changed; then predict.

    ``flip rate = mean(label(x') != label(x))``; answers that are not in the format, name words that are not there, or edit more
    than the budget are asked for again, and count as no flip in the end.

    Parameters
    ----------
    predict : callable
        Texts -> probabilities [n, classes].
    texts : sequence of str
    complete : callable
        Prompt -> answer: any language model, local or remote, or a stub.
    labels : sequence of str
        Names of the classes, as the language model is told them.
    retries : int, default 3
        Per question.
    budget : float, default 0.5
        Largest share of words that may change; without one a flip rate can be had by writing another text.
    draws : int, default 39
        Of the null.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Table, one row per text: label, target, features, words, counterfactual, answered, flipped, edited (share of words),
        inside (share of the edited words that were named). Estimate: flip rate. Nulls: as many random words of each text
        exchanged for words of other texts; and as many words of the vocabulary as were edited in all, none more frequent than
        the most frequent of those, each exchanged for one other throughout (edits of one kind flip or fail together, which
        words drawn anew for each text do not). Controls: edited, inside, calls and malformed answers per text.

    Raises
    ------
    UsageError, ShapeError, NonFinite
    Degenerate
        With fewer than three texts, or when no question was answered.

    Notes
    -----
    Null: a classifier that learned nothing flips no more often than by random edits of the same kind.
    Misleads when the language model explains the label that it would give: test it on a classifier that is wrong on purpose.

    Examples
    --------
    >>> from microtome.testing.worlds.llm_counterfactual import tone
    >>> from microtome.testing.stub_model import StubModel
    >>> from microtome.stimuli.reviews import reviews
    >>> found = llm_counterfactual(tone, reviews(12)[0], StubModel())
    >>> found.estimate.value, found.verdict
    (1.0, 'supported')

    References
    ----------
    Bhattacharjee, Moraffah, Garland, Liu (2023). Towards LLM-guided Causal Explainability for Black-box Text Classifiers.
    https://arxiv.org/abs/2309.13340
    """
    import pandas as pd

    counted("draws", draws)
    counted("retries", retries, 0)
    texts = list(texts)
    if len(texts) < 3 or not all(isinstance(t, str) and t.split() for t in texts):
        raise Degenerate(f"a flip rate needs three texts with words, got {len(texts)}.")
    if not 0 < budget <= 1:
        raise UsageError(f"budget must lie in (0, 1], got {budget!r}.")
    calls = Calls(complete, retries)
    before = predicted(predict, texts, len(labels))
    rows = [_ask(calls, text, labels, int(k), budget) for text, k in zip(texts, before)]
    if not any(row["answered"] for row in rows):
        raise Degenerate("the language model answered no question in the format asked for; see its answers, or raise retries.")
    after = predicted(predict, [row["counterfactual"] for row in rows], len(labels))
    flips = np.array([row["answered"] and int(a) != int(b) for row, a, b in zip(rows, after, before)])
    for row, flipped in zip(rows, flips):
        row["flipped"] = bool(flipped)
    stream = rng(seed, "random edits")
    pool = sorted({w for t in texts for w in t.split()})
    sizes = [round(row["edited"] * len(t.split())) for t, row in zip(texts, rows)]
    loose, matched = [], []
    for _ in range(draws):
        for found, changed in (
            (loose, [_exchanged(t, k, pool, stream) for t, k in zip(texts, sizes)]),
            (matched, _mapped(texts, rows, sizes, stream)),
        ):
            found.append(float((predicted(predict, changed, len(labels)) != before).mean()))
    estimate = bootstrap(flips.astype(float), seed=seed)
    answered = [row for row in rows if row["answered"]]
    return Finding(
        "changing the words that a language model names flips the label", estimate=estimate,
        nulls=(Null("as many random words exchanged", loose, estimate.value, "greater"),
               Null("other words as rare, each for one other throughout", matched, estimate.value, "greater")),
        controls={"share of words edited": float(np.mean([r["edited"] for r in answered])),
                  "edits inside the named words": float(np.mean([r["inside"] for r in answered])),
                  "calls per text": calls.asked / len(texts), "malformed answers per text": calls.malformed / len(texts)},
        table=pd.DataFrame(rows), alpha=alpha, provenance=Provenance(seed=seed),
    )  # fmt: skip


def predicted(predict: Predict, texts: Sequence[str], classes: int) -> np.ndarray:
    """Labels [n] of texts."""
    found = np.asarray(predict(list(texts)), dtype=float)
    if found.shape != (len(texts), classes):
        raise ShapeError(f"predict must give probabilities [{len(texts)}, {classes}], got {list(found.shape)}.")
    if not np.isfinite(found).all():
        raise NonFinite("predict gives NaN or infinity.")
    return found.argmax(1)


def _ask(calls: Calls, text: str, labels: Sequence[str], label: int, budget: float) -> dict[str, Any]:
    """The three questions about one text."""
    target = (label + 1) % len(labels)
    row: dict[str, Any] = {
        "text": text, "label": labels[label], "target": labels[target], "features": "", "words": "",
        "counterfactual": text, "answered": False, "flipped": False, "edited": 0.0, "inside": 0.0,
    }  # fmt: skip
    features = calls.ask(FEATURES.format(label=labels[label], labels=", ".join(labels), text=text), parse_features)
    if features is None:
        return row
    row["features"] = "; ".join(features)
    asked = SPANS.format(label=labels[label], features=row["features"], text=text)
    words = calls.ask(asked, partial(parse_spans, text=text))
    if words is None:
        return row
    row["words"] = " ".join(words)
    asked = REWRITE.format(label=labels[label], text=text, words=", ".join(words), target=labels[target])
    found = calls.ask(asked, partial(parse_rewrite, text=text, budget=budget))
    if found is None:
        return row
    gone = edited_words(text, found)
    inside = float(np.mean([w in words for w in gone])) if gone else 0.0
    return {**row, "counterfactual": found, "answered": True, "edited": edited_share(text, found), "inside": inside}


def _exchanged(text: str, count: int, pool: Sequence[str], stream: np.random.Generator) -> str:
    words = text.split()
    for at in stream.choice(len(words), min(count, len(words)), replace=False):
        words[at] = str(stream.choice(pool))
    return " ".join(words)


def _mapped(
    texts: Sequence[str], rows: Sequence[dict[str, Any]], sizes: Sequence[int], stream: np.random.Generator
) -> list[str]:
    """Texts with words of a random map exchanged, in each at most as many as were edited there."""
    edited = {w for text, row in zip(texts, rows) for w in edited_words(text, row["counterfactual"])}
    counts = Counter(w for text in texts for w in set(text.split()))
    rare = sorted(w for w, n in counts.items() if n <= max((counts[e] for e in edited), default=0))
    if len(rare) < 2:
        return list(texts)
    chosen = stream.choice(rare, min(len(edited), len(rare)), replace=False)
    swaps = {str(w): str(stream.choice([v for v in rare if v != w])) for w in chosen}
    changed = []
    for text, size in zip(texts, sizes):
        words = text.split()
        for at in [i for i in stream.permutation(len(words)) if words[i] in swaps][:size]:
            words[at] = swaps[words[at]]
        changed.append(" ".join(words))
    return changed
