"""A report with every block and every field of a finding, in which every text is the same word."""

import numpy as np
import pandas as pd

from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.study.blocks import Bars, Columns, Heatmap, Images, Lines, Points, Section, Table, Text, Tokens, Units

NAN = float("nan")


def finding(word: str) -> Finding:
    """Every field set, two nulls, a control of each kind, a table."""
    plain = word.encode("utf-8", "replace").decode()  # data frames hold no half surrogates
    table = pd.DataFrame({plain: [plain, "x"], f"{plain} 2": [1, 2], f"{plain} 3": [0.5, -0.25], f"{plain} 4": [True, False]})
    draws = np.random.default_rng(0).normal(0, 1, 99)
    return Finding(
        word, Estimate(2.5, 2.0, 3.0, n=12, unit=word, method=word), (Null(word, draws, 2.5), Null(word, [0.0] * 3, 0.0)),
        {word: Estimate(0.5, 0.25, 0.75, unit=word, method=word), f"{word} 2": 1.5}, table,
        Provenance(word, word, word, 3, {word: word}, 1.0, 2.0), 0.05, (word, word), word,
    )  # fmt: skip


def blocks(word: str) -> list:
    """One block of each kind; the numbers hold a gap, a negative, a zero and an infinity where these may stand."""
    shades = [[0.5, -0.5, 0.0], [NAN, 1.0]]
    words = [[word, f" {word}", word], [word, word]]
    card = {
        "name": word, "text": word, "score": 0.5, "null": 0.25, "low": 0.4, "high": 0.6, "verdict": word, "tokens": words,
        "values": shades, "logits": [[word, 1.0], [word, -1.0]], "neighbours": [[word, 0.5]],
        "density": {"edges": [0.0, 1.0, 2.0], "counts": [3, 1]},
    }  # fmt: skip
    image = np.zeros((4, 5, 3)).tolist()
    return [
        Text(word),
        Table(word, [word, word], [[word, 1.5], [word, None]], word),
        Bars(word, [word, word], [0.5, NAN], [0.25, 0.0], [0.75, 0.0], [0.0, 0.5], word),
        Bars(word, [word], [-0.5], null=0.0),
        Heatmap(word, [word, word], [word, word, word], [[0.5, -1.0, 0.0], [NAN, 0.25, None]], word, word, word),
        Lines(word, [word] * 3, {word: [0.5, NAN, 1.0], f"{word} 2": [0.0, 1.0, 2.0]}, {word: [[0, 1]] * 3}, word, word),
        Columns(word, [-2.0, -1.0, 0.0], [3, NAN], word, word),
        Points(word, [0.0, 1.0, NAN], [0.0, 2.0, 1.0], [word] * 3, [word, word, "other"], word),
        Tokens(word, words, shades, [word, word]),
        Images(word, [image, image], [word, word], [[[0.5, -0.5]], [[0.0, 1.0]]]),
        Units(word, [card, {"name": word, "text": word, "score": word, "null": word}, {"name": word}]),
    ]


def sample(word: str) -> tuple[str, str, list[Section], dict[str, str]]:
    """Arguments of `render`."""
    return word, word, [Section(word, word, word, [finding(word)], blocks(word), 1.5)], {word: word}
